//! Small named documents: what is known of pulled references, the tags of the embedded registry.

use rusqlite::{OptionalExtension as _, params};

use crate::StoreError;
use crate::database::unix_now;
use crate::store::Store;

impl Store {
    /// The document of a kind and name.
    pub fn get_document(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.database()?.read("read a document", |connection| {
            connection
                .prepare_cached("SELECT body FROM documents WHERE kind = ?1 AND name = ?2")?
                .query_row([kind, name], |row| row.get(0))
                .optional()
        })
    }

    /// Keeps a document, in the place of the one with the same kind and name.
    pub fn put_document(&self, kind: &str, name: &str, body: &[u8]) -> Result<(), StoreError> {
        self.database()?.write("keep a document", |connection| {
            let sql = "INSERT OR REPLACE INTO documents (kind, name, body, updated_unix) VALUES (?1, ?2, ?3, ?4)";
            connection
                .prepare_cached(sql)?
                .execute(params![kind, name, body, unix_now()])?;
            Ok(())
        })
    }

    /// Removes a document. False if there is none.
    pub fn delete_document(&self, kind: &str, name: &str) -> Result<bool, StoreError> {
        self.database()?.write("remove a document", |connection| {
            let sql = "DELETE FROM documents WHERE kind = ?1 AND name = ?2";
            Ok(connection.prepare_cached(sql)?.execute([kind, name])? > 0)
        })
    }

    /// Names of the documents of a kind that begin with `prefix`, sorted by their bytes.
    pub fn list_documents(&self, kind: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.database()?.read("list documents", |connection| {
            let sql = "SELECT name FROM documents WHERE kind = ?1 AND substr(name, 1, length(?2)) = ?2 ORDER BY name";
            connection
                .prepare_cached(sql)?
                .query_map([kind, prefix], |row| row.get(0))?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::temporary_store;

    #[test]
    fn documents_are_kept_by_kind_and_name() {
        let (_directory, store) = temporary_store();
        store.put_document("tag", "app/a_b:1", b"one").expect("put");
        store.put_document("tag", "app/a_b:1", b"two").expect("put again");
        store.put_document("tag", "app/aXb:1", b"").expect("put");
        store.put_document("other", "app/a_b:1", b"three").expect("put");
        assert_eq!(
            store.get_document("tag", "app/a_b:1").expect("read").as_deref(),
            Some(b"two".as_slice())
        );
        assert_eq!(store.get_document("tag", "missing").expect("read"), None);
        assert_eq!(store.list_documents("tag", "app/a_b").expect("list"), ["app/a_b:1"]);
        assert_eq!(
            store.list_documents("tag", "").expect("list"),
            ["app/aXb:1", "app/a_b:1"]
        );
        assert!(store.delete_document("tag", "app/a_b:1").expect("delete"));
        assert!(!store.delete_document("tag", "app/a_b:1").expect("delete"));
        assert_eq!(store.list_documents("other", "").expect("list"), ["app/a_b:1"]);
    }
}
