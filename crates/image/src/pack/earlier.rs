//! Members of blobs that were packed earlier, to be copied where they would be compressed to the same bytes again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kiln_oci::Digest;
use kiln_store::{BlobMember, MemberHash, Store, StoreError};

use super::CompressionSetting;

/// More blobs than this are not looked at: each later one has less that the others do not have.
const BLOBS_AT_MOST: usize = 4;

/// What can be copied. Whether it is there makes no difference to the bytes of a layer, only to how long it takes.
#[derive(Debug, Default)]
pub struct Earlier {
    blobs: Vec<File>,
    members: HashMap<MemberHash, Place>,
}

#[derive(Debug)]
struct Place {
    blob: usize,
    offset: u64,
    member: BlobMember,
}

impl Earlier {
    /// The members of those of some blobs that are in the store and were compressed in the same way.
    pub fn open(store: &Store, blobs: &[Digest], setting: CompressionSetting) -> Result<Earlier, StoreError> {
        let identity = setting.identity();
        let mut earlier = Earlier::default();
        for digest in blobs {
            if earlier.blobs.len() == BLOBS_AT_MOST {
                break;
            }
            let Some(list) = store.blob_members(digest)?.filter(|list| list.made_by == identity) else {
                continue;
            };
            let Some(file) = store.open_blob(digest)? else {
                continue;
            };
            let mut offset = 0_u64;
            for member in list.members {
                let (at, length) = (offset, member.length);
                offset = offset.saturating_add(length);
                earlier.members.entry(member.content).or_insert(Place {
                    blob: earlier.blobs.len(),
                    offset: at,
                    member,
                });
            }
            earlier.blobs.push(file);
        }
        Ok(earlier)
    }

    /// Whether there is nothing to copy.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Makes `out` the member that gives `content` back, which is no longer than `bound`. None: there is none, or it is
    /// not what it was.
    pub(super) fn copy(&self, content: &MemberHash, bound: usize, out: &mut Vec<u8>) -> Option<BlobMember> {
        let place = self.members.get(content)?;
        match self.read(place, bound, out) {
            Ok(true) => Some(place.member.clone()),
            Ok(false) => {
                tracing::warn!(%content, "a member of an earlier layer is damaged and is compressed again");
                None
            }
            Err(error) => {
                tracing::warn!(%content, %error, "a member of an earlier layer cannot be read and is compressed again");
                None
            }
        }
    }

    fn read(&self, place: &Place, bound: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        // A list that is damaged in spite of its checksum asks for no more memory than compressing would take.
        let Some(length) = usize::try_from(place.member.length)
            .ok()
            .filter(|length| *length <= bound)
        else {
            return Ok(false);
        };
        out.resize(length, 0);
        self.blobs[place.blob].read_exact_at(out, place.offset)?;
        Ok(MemberHash::of(out) == place.member.compressed)
    }
}
