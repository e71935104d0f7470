//! Room on a disk that is so full that nothing can be written: to the database least of all.

use crate::StoreError;
use crate::collect::rows::{Rows, read_rows};
use crate::gate::Gate;
use crate::layer::LayerId;
use crate::removal::remove_directory_tree;
use crate::store::Store;

/// Removes what no row has to be changed for: stat caches, and trees that can be made again and that nobody holds, which
/// are those of layers that have a blob too, or, if the tables cannot even be read, those of images' layers. Gives how
/// many things went.
pub(crate) fn make_room(store: &Store) -> Result<usize, StoreError> {
    let store = store.unheld();
    let mut count = 0;
    for entry in std::fs::read_dir(store.layout().contexts())
        .into_iter()
        .flatten()
        .flatten()
    {
        count += usize::from(std::fs::remove_file(entry.path()).is_ok());
    }
    // The database can be read only if there is room for its index of the log.
    let rows: Option<Rows> = match store
        .database()
        .and_then(|database| database.read("read the tables", read_rows))
    {
        Ok(rows) => Some(rows),
        Err(error) if error.is_disk_full() => None,
        Err(error) => return Err(error),
    };
    let can_be_made_again = |id: &LayerId| -> Result<bool, StoreError> {
        let Some(rows) = &rows else {
            return Ok(id.is_of_diff());
        };
        for digest in rows.layers.get(id).map_or(&[][..], |layer| &layer.blobs) {
            if store.blob_exists(digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut doomed = Vec::new();
    {
        let gate = Gate::new(store.layout().gate());
        let _closed = gate.close()?;
        let held = store.held()?;
        for entry in std::fs::read_dir(store.layout().trees())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<LayerId>().ok()) else {
                continue;
            };
            let tree = entry.path();
            if !held.layers.contains(&id) && can_be_made_again(&id)? {
                let hidden = store.session()?.fresh_path("doomed");
                std::fs::rename(&tree, &hidden).map_err(|error| StoreError::io("remove", &tree, error))?;
                doomed.push(hidden);
            }
        }
    }
    for path in &doomed {
        remove_directory_tree(path)?;
    }
    Ok(count + doomed.len())
}
