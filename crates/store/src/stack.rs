//! Roots of records: stacks of layers that share what is below.
//!
//! The root of the thousandth step is that of the step before it and one layer more. Kept layer by layer for each record, a
//! chain of steps would take up the square of its length; as a stack, it takes up its length.

use std::collections::HashMap;

use kiln_oci::Digest;
use rusqlite::{Connection, params};

use crate::layer::LayerId;

/// Bytes of a digest that are enough to tell stacks apart.
const LENGTH: usize = 16;

/// The identity of a stack: a digest of its layers. That of no layer at all is empty.
pub(crate) type StackId = Vec<u8>;

/// The identities of a stack and of everything below it, lowest first.
fn identities(layers: &[LayerId]) -> Vec<StackId> {
    let mut below = StackId::new();
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        let mut bytes = below;
        bytes.push(b'\n');
        bytes.extend(layer.as_str().as_bytes());
        let digest = Digest::sha256(bytes);
        below = digest.hex().as_bytes()[..2 * LENGTH].to_vec();
        all.push(below.clone());
    }
    all
}

/// Keeps a stack, from the top down to what is there already. Part of a transaction.
pub(crate) fn keep(connection: &Connection, layers: &[LayerId]) -> rusqlite::Result<StackId> {
    let all = identities(layers);
    let mut find = connection.prepare_cached("SELECT 1 FROM stacks WHERE id = ?1")?;
    let mut insert = connection.prepare_cached("INSERT INTO stacks (id, below, layer) VALUES (?1, ?2, ?3)")?;
    for (at, layer) in layers.iter().enumerate().rev() {
        if find.exists([&all[at]])? {
            break;
        }
        let below = at.checked_sub(1).map(|below| all[below].as_slice());
        insert.execute(params![all[at], below.unwrap_or_default(), layer.as_str()])?;
    }
    Ok(all.last().cloned().unwrap_or_default())
}

/// The layers of a stack, lowest first, as they are written. None: something below is gone, which only damage can do.
pub(crate) fn layers(connection: &Connection, stack: &[u8]) -> rusqlite::Result<Option<Vec<String>>> {
    // One statement for all: the cached path reads one root, and that is most of what it asks the database. Rows come as
    // they are found, from the top down.
    let sql = "WITH RECURSIVE down(below, layer) AS (
                   SELECT below, layer FROM stacks WHERE id = ?1
                   UNION ALL SELECT stacks.below, stacks.layer FROM down JOIN stacks ON stacks.id = down.below
               )
               SELECT below, layer FROM down";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([stack])?;
    let mut layers = Vec::new();
    let mut has_end = stack.is_empty();
    while let Some(row) = rows.next()? {
        has_end = row.get_ref(0)?.as_blob()?.is_empty();
        layers.push(row.get(1)?);
    }
    if !has_end {
        return Ok(None);
    }
    layers.reverse();
    Ok(Some(layers))
}

/// All stacks, for those who look at every record.
#[derive(Debug, Default)]
pub(crate) struct Stacks(HashMap<StackId, (StackId, LayerId)>);

impl Stacks {
    /// Reads the table. Rows that cannot be read are left out.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Stacks> {
        let mut statement = connection.prepare_cached("SELECT id, below, layer FROM stacks")?;
        let mut query = statement.query([])?;
        let mut all = HashMap::new();
        while let Some(row) = query.next()? {
            let layer: String = row.get(2)?;
            if let Ok(layer) = layer.parse() {
                all.insert(row.get(0)?, (row.get(1)?, layer));
            }
        }
        Ok(Stacks(all))
    }

    /// The layers of a stack, lowest first, as far down as they are known.
    pub(crate) fn layers(&self, stack: &StackId) -> Vec<LayerId> {
        let next = |at: &&(StackId, LayerId)| self.0.get(&at.0);
        let mut layers: Vec<LayerId> = std::iter::successors(self.0.get(stack), next)
            .map(|(_, layer)| layer.clone())
            .collect();
        layers.reverse();
        layers
    }
}

/// Forgets the stacks that no record stands on.
pub(crate) fn forget_unused(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "WITH RECURSIVE used(id) AS (
                   SELECT stack FROM records WHERE stack IS NOT NULL
                   UNION SELECT below FROM stacks JOIN used USING (id)
               )
               DELETE FROM stacks WHERE id NOT IN (SELECT id FROM used)";
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().expect("open");
        for schema in [
            include_str!("schema/1.sql"),
            include_str!("schema/2.sql"),
            include_str!("schema/3.sql"),
        ] {
            connection.execute_batch(schema).expect("schema");
        }
        connection
    }

    fn rows(connection: &Connection) -> usize {
        let count = connection.query_row("SELECT count(*) FROM stacks", [], |row| row.get(0));
        count.expect("count")
    }

    #[test]
    fn a_chain_of_steps_takes_up_its_length() {
        let connection = database();
        let all: Vec<LayerId> = (0..50).map(|_| LayerId::random()).collect();
        let mut last = StackId::new();
        for length in 0..=all.len() {
            last = keep(&connection, &all[..length]).expect("keep");
            let read = layers(&connection, &last).expect("read").expect("whole");
            assert!(read.iter().eq(all[..length].iter().map(LayerId::as_str)));
        }
        assert_eq!(rows(&connection), 50);
        let other = [all[0].clone(), all[2].clone()];
        let fork = keep(&connection, &other).expect("keep");
        assert_eq!(rows(&connection), 51, "what is below is shared");
        let stacks = Stacks::read(&connection).expect("read");
        assert_eq!(stacks.layers(&fork), other);
        assert_eq!(stacks.layers(&last), all);
    }

    #[test]
    fn what_no_record_stands_on_is_forgotten() {
        let connection = database();
        let all: Vec<LayerId> = (0..5).map(|_| LayerId::random()).collect();
        let used = keep(&connection, &all[..3]).expect("keep");
        keep(&connection, &all).expect("keep");
        let sql = "INSERT INTO records (key, slot, name, created_unix, duration_ms, used_unix, parts, stack)
                   VALUES ('k', '', '', 0, 0, 0, x'', ?1)";
        connection.execute(sql, [&used]).expect("insert");
        forget_unused(&connection).expect("forget");
        assert_eq!(rows(&connection), 3);
        assert_eq!(
            layers(&connection, &used).expect("read").map(|layers| layers.len()),
            Some(3)
        );
        connection.execute("DELETE FROM records", []).expect("delete");
        forget_unused(&connection).expect("forget");
        assert_eq!(rows(&connection), 0);
    }

    #[test]
    fn a_stack_without_its_lowest_layers_is_none() {
        let connection = database();
        let all: Vec<LayerId> = (0..3).map(|_| LayerId::random()).collect();
        let stack = keep(&connection, &all).expect("keep");
        connection
            .execute("DELETE FROM stacks WHERE below = x''", [])
            .expect("delete");
        assert_eq!(layers(&connection, &stack).expect("read"), None);
        assert_eq!(layers(&connection, b"nowhere").expect("read"), None);
    }
}
