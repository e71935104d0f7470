//! later
use crate::history::BuildRecord;
/// later
pub fn page(_record: &BuildRecord) -> String {
    String::new()
}
