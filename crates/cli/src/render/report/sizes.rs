//! Bytes by platform, layer and instruction.

use kiln_graph::LayerContent;

use super::html::Html;
use super::treemap::tiles;
use crate::history::record::{BuildRecord, ImageRecord};
use crate::render::tree::bytes;

/// Width to height of a map of an image.
const RATIO: f64 = 2.0;

/// Smaller pieces, in percent of the width or height, carry no text.
const LEGIBLE: (f64, f64) = (12.0, 14.0);

/// The sizes of all images.
pub fn section(main: &mut Html, record: &BuildRecord) {
    if record.images.is_empty() {
        return;
    }
    main.element("section", &[("aria-labelledby", "sizes")], |section| {
        section.element("h2", &[("id", "sizes")], |title| title.text("Sizes"));
        platforms(section, &record.images);
        for (number, image) in record.images.iter().enumerate() {
            section.element("h3", &[("id", &format!("size-{number}"))], |title| {
                title.text(&format!("{}: {}", image.platform, bytes(image.size)));
            });
            map(section, image);
            table(section, record, image);
        }
    });
}

fn platforms(section: &mut Html, images: &[ImageRecord]) {
    let largest = images.iter().map(|image| image.size).max().unwrap_or(0).max(1);
    section.element(
        "ul",
        &[("class", "platforms"), ("aria-label", "Size by platform")],
        |list| {
            for (number, image) in images.iter().enumerate() {
                list.element("li", &[], |item| {
                    item.element("a", &[("href", &format!("#size-{number}"))], |link| {
                        link.text(&image.platform.to_string());
                    });
                    let width = format!("width:{:.3}%", image.size as f64 * 100.0 / largest as f64);
                    item.element("span", &[("class", "measure"), ("aria-hidden", "true")], |measure| {
                        measure.element("span", &[("style", &width)], |_| {});
                    });
                    item.element("span", &[("class", "amount")], |amount| {
                        amount.text(&format!("{}, {} layers", bytes(image.size), image.layers.len()));
                    });
                });
            }
        },
    );
}

fn map(section: &mut Html, image: &ImageRecord) {
    let mut layers: Vec<(usize, &LayerContent)> = image.layers.iter().enumerate().collect();
    layers.sort_by(|a, b| b.1.size.cmp(&a.1.size).then(a.0.cmp(&b.0)));
    let sizes: Vec<u64> = layers.iter().map(|(_, layer)| layer.size).collect();
    let name = format!("Layers of {} by size", image.platform);
    section.element(
        "div",
        &[("class", "treemap"), ("role", "group"), ("aria-label", &name)],
        |map| {
            for ((number, layer), tile) in layers.iter().zip(tiles(&sizes, RATIO)) {
                if layer.size == 0 {
                    continue;
                }
                let style = format!(
                    "left:{:.3}%;top:{:.3}%;width:{:.3}%;height:{:.3}%",
                    tile.left, tile.top, tile.width, tile.height
                );
                let from = if layer.base { "base image" } else { "this build" };
                let title = format!(
                    "layer {} ({from}): {}, {} % of the image: {}",
                    number + 1,
                    bytes(layer.size),
                    percent(layer.size, image.size),
                    instruction(layer)
                );
                let class = if layer.base { "tile base" } else { "tile own" };
                let attributes = [
                    ("class", class),
                    ("style", style.as_str()),
                    ("tabindex", "0"),
                    ("role", "img"),
                    ("title", &title),
                    ("aria-label", &title),
                ];
                map.element("span", &attributes, |place| {
                    if tile.width >= LEGIBLE.0 && tile.height >= LEGIBLE.1 {
                        place.element("span", &[], |words| {
                            words.element("b", &[], |size| size.text(&bytes(layer.size)));
                            words.text(&format!(" {}", instruction(layer)));
                        });
                    }
                });
            }
        },
    );
    section.element("ul", &[("class", "legend"), ("aria-hidden", "true")], |list| {
        for (class, word) in [("own", "this build"), ("base", "base image")] {
            list.element("li", &[], |item| {
                item.element("span", &[("class", &format!("swatch {class}"))], |_| {});
                item.text(word);
            });
        }
    });
}

fn table(section: &mut Html, record: &BuildRecord, image: &ImageRecord) {
    section.element("table", &[], |table| {
        table.element("caption", &[], |caption| {
            caption.text(&format!("Layers of {}, lowest first", image.platform))
        });
        table.element("thead", &[], |head| {
            head.element("tr", &[], |row| {
                for name in ["#", "Size", "Instruction"] {
                    row.element("th", &[("scope", "col")], |cell| cell.text(name));
                }
            });
        });
        table.element("tbody", &[], |body| {
            for (number, layer) in image.layers.iter().enumerate() {
                body.element("tr", &[], |row| layer_row(row, record, image, number, layer));
            }
        });
    });
}

fn layer_row(row: &mut Html, record: &BuildRecord, image: &ImageRecord, number: usize, layer: &LayerContent) {
    row.element("td", &[], |cell| cell.text(&(number + 1).to_string()));
    row.element("td", &[("class", "size")], |cell| {
        cell.text(&format!(
            "{} ({} %)",
            bytes(layer.size),
            percent(layer.size, image.size)
        ));
    });
    row.element("td", &[], |cell| {
        cell.element("code", &[], |code| code.text(instruction(layer)));
        let sharing = record
            .images
            .iter()
            .filter(|other| other.layers.iter().any(|held| held.digest == layer.digest));
        let mut notes = Vec::new();
        if layer.base {
            notes.push("from the base image".to_owned());
        }
        let sharing = sharing.count();
        if sharing > 1 {
            notes.push(format!("shared by {sharing} platforms"));
        }
        notes.push(format!("sha256:{}", layer.digest.short()));
        cell.element("small", &[], |small| small.text(&notes.join(" · ")));
    });
}

fn instruction(layer: &LayerContent) -> &str {
    if layer.instruction.is_empty() {
        "(the image's history says nothing)"
    } else {
        &layer.instruction
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0".to_owned();
    }
    format!("{:.0}", part as f64 * 100.0 / whole as f64)
}
