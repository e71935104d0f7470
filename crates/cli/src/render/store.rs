//! Reports on the store: tables for people, JSON for programs. Pure: values in, text out.

use std::fmt::Write as _;

use kiln_store::{Collected, ItemKind, KindUsage, StoreItem, Usage, human_size};
use serde_json::{Value, json};

/// A table whose first column is to the left and whose others are to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let width = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
            rows.iter().map(width).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing to a string does not fail.
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cells(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn usage_row(name: &str, usage: KindUsage) -> Vec<String> {
    vec![
        name.to_owned(),
        usage.count.to_string(),
        human_size(usage.bytes),
        human_size(usage.shared),
        human_size(usage.reclaimable),
    ]
}

/// `kiln du`.
pub fn usage(usage: &Usage, verbose: bool, now: i64) -> String {
    let mut rows = vec![cells(&["KIND", "COUNT", "SIZE", "SHARED", "RECLAIMABLE"])];
    for kind in ItemKind::ALL {
        let found = usage.of(kind);
        if !matches!(kind, ItemKind::Aside | ItemKind::Repository) || found.count > 0 {
            rows.push(usage_row(kind.name(), found));
        }
    }
    rows.push(usage_row("total", usage.total()));
    let mut text = table(&rows);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\n{} of {} free on the disk",
        human_size(usage.free),
        human_size(usage.disk)
    );
    if verbose {
        for kind in ItemKind::ALL {
            let items: Vec<_> = usage.items.iter().filter(|(item, _)| item.kind == kind).collect();
            if items.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n{}", kind.name());
            let rows: Vec<_> = items
                .iter()
                .map(|(item, reclaimable)| item_row(item, Some(*reclaimable), now))
                .collect();
            text.push_str(&table(&rows));
        }
    }
    text
}

fn item_row(item: &StoreItem, reclaimable: Option<bool>, now: i64) -> Vec<String> {
    let state = match reclaimable {
        _ if item.in_use => "in use",
        _ if item.named => "named",
        Some(false) => "kept",
        _ => "",
    };
    let mut id = item.id.clone();
    if item.kind == ItemKind::Record {
        id = item.id.chars().take(19).collect();
    }
    let about = match (&item.platform, item.description.is_empty()) {
        (Some(platform), false) => format!("{} ({platform})", item.description),
        _ => item.description.clone(),
    };
    let mut first = format!("  {id}");
    if !about.is_empty() {
        first.push_str("  ");
        first.push_str(&about.chars().take(60).collect::<String>().replace(['\n', '\t'], " "));
    }
    vec![
        first,
        human_size(item.bytes),
        age(item.used_unix, now),
        state.to_owned(),
    ]
}

/// How long ago something was used.
fn age(used_unix: i64, now: i64) -> String {
    let seconds = now.saturating_sub(used_unix).max(0);
    let (count, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ if used_unix <= 0 => return "never".into(),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

fn item_json(item: &StoreItem) -> Value {
    let mut value = json!({
        "kind": item.kind.name(),
        "id": item.id,
        "bytes": item.bytes,
        "usedUnix": item.used_unix,
        "shared": item.shared,
        "inUse": item.in_use,
        "named": item.named,
    });
    if !item.description.is_empty() {
        value["description"] = json!(item.description);
    }
    if let Some(platform) = &item.platform {
        value["platform"] = json!(platform);
    }
    if let Some(created) = item.created_unix {
        value["createdUnix"] = json!(created);
    }
    value
}

fn kind_json(usage: KindUsage) -> Value {
    json!({
        "count": usage.count,
        "bytes": usage.bytes,
        "sharedBytes": usage.shared,
        "reclaimableBytes": usage.reclaimable,
    })
}

/// `kiln du --format json`.
pub fn usage_json(usage: &Usage, verbose: bool) -> Value {
    let kinds: serde_json::Map<String, Value> = ItemKind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), kind_json(usage.of(kind))))
        .collect();
    let mut value = json!({
        "kinds": kinds,
        "total": kind_json(usage.total()),
        "diskBytes": usage.disk,
        "freeBytes": usage.free,
    });
    if verbose {
        let items: Vec<Value> = usage
            .items
            .iter()
            .map(|(item, reclaimable)| {
                let mut value = item_json(item);
                value["reclaimable"] = json!(reclaimable);
                value
            })
            .collect();
        value["items"] = json!(items);
    }
    value
}

/// `kiln prune`.
pub fn collected(collected: &Collected, verbose: bool, dry_run: bool, now: i64) -> String {
    let mut text = String::new();
    if verbose && !collected.removed.is_empty() {
        let rows: Vec<_> = collected.removed.iter().map(|item| item_row(item, None, now)).collect();
        text.push_str(&table(&rows));
    }
    let mut rows = Vec::new();
    for kind in ItemKind::ALL {
        let items: Vec<_> = collected.removed.iter().filter(|item| item.kind == kind).collect();
        if !items.is_empty() {
            let bytes = items.iter().map(|item| item.bytes).sum();
            rows.push(vec![kind.name().to_owned(), items.len().to_string(), human_size(bytes)]);
        }
    }
    text.push_str(&table(&rows));
    let what = if dry_run { "Would free" } else { "Total" };
    // Writing to a string does not fail.
    let _ = write!(text, "{what}: {}", human_size(collected.bytes));
    text
}

/// `kiln prune --format json`.
pub fn collected_json(collected: &Collected, dry_run: bool) -> Value {
    let items: Vec<Value> = collected.removed.iter().map(item_json).collect();
    json!({
        "dryRun": dry_run,
        "bytes": collected.bytes,
        "beforeBytes": collected.before,
        "afterBytes": collected.after,
        "removed": items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: ItemKind, id: &str, bytes: u64) -> StoreItem {
        StoreItem {
            kind,
            id: id.into(),
            bytes,
            used_unix: 1_000_000,
            ..StoreItem::default()
        }
    }

    #[test]
    fn tables_are_aligned_and_ages_are_words() {
        let usage_of = Usage {
            items: vec![
                (item(ItemKind::Blob, "sha256:aa", 1500), true),
                (
                    StoreItem {
                        in_use: true,
                        shared: true,
                        ..item(ItemKind::Tree, "built-1", 2_000_000)
                    },
                    false,
                ),
            ],
            database: 4096,
            free: 5_000_000_000,
            disk: 10_000_000_000,
        };
        let text = usage(&usage_of, true, 1_000_000 + 7200);
        let expected = "\
KIND          COUNT     SIZE   SHARED  RECLAIMABLE
blobs             1  1.50 kB      0 B      1.50 kB
trees             1  2.00 MB  2.00 MB          0 B
indexes           0      0 B      0 B          0 B
records           0  4.09 kB      0 B          0 B
documents         0      0 B      0 B          0 B
cache mounts      0      0 B      0 B          0 B
contexts          0      0 B      0 B          0 B
sessions          0      0 B      0 B          0 B
total             2  2.00 MB  2.00 MB      1.50 kB

5.00 GB of 10.0 GB free on the disk

blobs
  sha256:aa  1.50 kB  2 hours ago

trees
  built-1  2.00 MB  2 hours ago  in use
";
        assert_eq!(text, expected);
        assert_eq!(usage_json(&usage_of, false)["kinds"]["trees"]["sharedBytes"], 2_000_000);
    }

    #[test]
    fn what_went_is_summed_up() {
        let what = Collected {
            removed: vec![item(ItemKind::Blob, "a", 10), item(ItemKind::Blob, "b", 20)],
            bytes: 30,
            ..Collected::default()
        };
        assert_eq!(collected(&what, false, false, 0), "blobs  2  30 B\nTotal: 30 B");
        assert_eq!(collected(&Collected::default(), false, true, 0), "Would free: 0 B");
        assert_eq!(age(0, 1_000_000_000), "never");
        assert_eq!(age(999_999_900, 1_000_000_000), "1 minute ago");
    }
}
