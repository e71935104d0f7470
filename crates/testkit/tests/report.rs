//! The page of a build, looked at in a browser.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may be told where to leave its pictures"
)]

use std::fs;
use std::path::{Path, PathBuf};

use kiln_testkit::{Browser, Fixture, TestResult};
use serde_json::{Value, json};

const HOSTILE: &str = "RUN echo \"'><script>document.title='broken'</script><img src=https://example.test/x>\u{202e}";

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

/// A build on three platforms with something in every section of its page.
fn record() -> Value {
    let platforms = [("amd64", false), ("arm64", true), ("arm", true)];
    let names = [
        "COPY go.mod go.sum ./",
        "RUN go mod download",
        "COPY . .",
        "RUN go build -o /out/app ./cmd/app",
        HOSTILE,
    ];
    let mut steps = Vec::new();
    for (lane, (architecture, emulated)) in platforms.iter().enumerate() {
        let platform = json!({"os": "linux", "architecture": architecture});
        let mut at = 300 + 150 * lane;
        for (number, name) in names.iter().enumerate() {
            let id = steps.len() + 1;
            let inputs: Vec<String> = if number > 0 { vec![digest(id - 1)] } else { Vec::new() };
            let is_found = number < 2;
            let took = if is_found {
                0
            } else {
                [0, 0, 240, 5_200, 900][number] * if *emulated { 3 } else { 1 }
            };
            let reason = match number {
                2 => json!({"reason": "files-changed", "source": ".", "added": ["cmd/app/flags.go"], "removed": [],
                            "changed": ["cmd/app/main.go"], "remoded": [{"path": "run.sh", "from": "644", "to": "755"}]}),
                3 | 4 => {
                    json!({"reason": "parent-changed", "step": names[number - 1], "vertex": digest(id - 1), "root": null})
                }
                _ => Value::Null,
            };
            steps.push(json!({
                "number": id, "vertex": digest(id), "inputs": inputs, "name": name, "stage": "build",
                "step": [number + 1, names.len()], "platform": platform, "targets": [platform],
                "lines": {"file": "Dockerfile", "start": number + 2, "end": number + 2},
                "outcome": if is_found { json!("cached") } else { json!("done") },
                "started_ms": if is_found { Value::Null } else { json!(at) }, "duration_ms": took,
                "emulated": *emulated && number >= 3, "reason": reason,
                "hit": if is_found { json!("not-needed") } else { Value::Null }, "took_ms": null, "log_bytes": 0,
            }));
            at += took;
        }
    }
    let layers = |scale: u64| {
        let sizes = [29_000_000, 4_100_000, 9_300_000, 180_000, 12_000];
        let made = [
            "ADD rootfs.tar /",
            "RUN apt-get install ca-certificates",
            "COPY --from=build /out/app /app",
            "COPY static /static",
            HOSTILE,
        ];
        let all: Vec<Value> = (0..5)
            .map(|at| {
                let digest = if at == 3 { digest(999) } else { digest(1000 + at + usize::try_from(scale).unwrap_or(0) * 10) };
                json!({"digest": digest, "size": sizes[at] * (10 + scale) / 10, "instruction": made[at], "base": at < 2})
            })
            .collect();
        all
    };
    let images: Vec<Value> = platforms
        .iter()
        .enumerate()
        .map(|(at, (architecture, _))| {
            let layers = layers(at as u64);
            let size: u64 = layers.iter().filter_map(|layer| layer["size"].as_u64()).sum();
            json!({"platform": {"os": "linux", "architecture": architecture}, "digest": digest(500 + at), "size": size, "layers": layers})
        })
        .collect();
    let finding = json!({"code": "A04", "severity": "error", "path": "/app", "instruction": "COPY --from=build /out/app /app",
                         "message": "a glibc program in an image with musl", "repair": "build it with CGO_ENABLED=0"});
    let note = json!({"code": "A03", "severity": "note", "path": "/usr/lib/node_modules/a/prebuilds", "instruction": null,
                      "message": "prebuilt for other platforms too", "repair": null});
    json!({
        "format": 1, "id": "0190a7c3f0b21234", "name": "registry.example/team/app:1.4.0", "status": "done",
        "started_unix_ms": 1_764_000_000_000_i64, "duration_ms": 20_400, "version": "0.1.0",
        "request": {"context": ".", "file": "Dockerfile", "target": null, "names": ["registry.example/team/app:1.4.0"],
                    "platforms": platforms.map(|(architecture, _)| json!({"os": "linux", "architecture": architecture})), "arguments": []},
        "steps": steps,
        "tasks": [
            {"name": "resolve docker.io/library/golang:1.24", "platform": null, "started_ms": 10, "duration_ms": 240, "outcome": "done", "id": 1},
            {"name": "push registry.example/team/app:1.4.0", "platform": null, "started_ms": 19_100, "duration_ms": 1_250, "outcome": "done", "id": 2},
        ],
        "images": images,
        "results": [{"digest": digest(77), "names": ["registry.example/team/app:1.4.0"]}],
        "transferred": {"pulled": 33_000_000, "pushed": 29_000_000},
        "warnings": [{"message": "FromPlatformFlagConstDisallowed: FROM --platform should not be a constant (line 1)", "hints": []}],
        "audit": [{"platform": {"os": "linux", "architecture": "amd64"}, "findings": []},
                  {"platform": {"os": "linux", "architecture": "arm64"}, "findings": [note, finding]}],
        "tests": [{"platform": {"os": "linux", "architecture": "amd64"}, "name": "it starts", "outcome": "done", "duration_ms": 80},
                  {"platform": {"os": "linux", "architecture": "arm64"}, "name": "it starts", "outcome": {"failed": "exit code 127: /app: not found"}, "duration_ms": 310}],
    })
}

/// A page that `kiln report` wrote of that build.
fn written(fixture: &Fixture) -> Result<PathBuf, Box<dyn std::error::Error>> {
    fixture.context("app", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")])?;
    fixture
        .kiln(["build", "-o", "type=cacheonly", "app"])
        .run()?
        .assert_success();
    let history = fixture.state().join("history");
    fs::write(history.join("0190a7c3f0b21234.record"), record().to_string())?;
    let name = "page.html";
    fixture.kiln(["report", "0190a7c3f0b21234", "-o", name]).succeed()?;
    Ok(fixture.directory().join(name))
}

/// Keeps a picture where the one who runs the test wants it.
fn keep(name: &str, picture: &[u8]) -> TestResult {
    assert!(picture.starts_with(b"\x89PNG"), "a picture");
    if let Some(directory) = std::env::var_os("KILN_SCREENSHOTS") {
        fs::write(Path::new(&directory).join(name), picture)?;
    }
    Ok(())
}

#[test]
fn the_page_fits_every_width_in_light_and_dark() -> TestResult {
    let fixture = Fixture::new()?;
    let page = written(&fixture)?;
    let mut browser = Browser::start()?;
    for (width, dark) in [(1280, false), (1280, true), (360, false), (360, true)] {
        browser.resize(width, 800, dark)?;
        browser.open(&page)?;
        let wide = browser.value("document.documentElement.scrollWidth")?.as_u64();
        assert_eq!(wide, Some(width.into()), "nothing is wider than the window");
        // Everything that is shown lies within the window, apart from what waits outside to be focused.
        let outside = "[...document.querySelectorAll('main *, header *')].filter(element => { \
            const box = element.getBoundingClientRect(); \
            return box.width > 0 && (box.left < -0.5 || box.right > innerWidth + 0.5); }).map(element => element.outerHTML.slice(0, 120))";
        assert_eq!(browser.value(outside)?, json!([]), "at {width}");
        let background = browser
            .value("getComputedStyle(document.body).backgroundColor")?
            .to_string();
        let red: u32 = background
            .trim_matches('"')
            .trim_start_matches("rgb(")
            .split(',')
            .next()
            .unwrap_or_default()
            .parse()?;
        assert_eq!(red < 100, dark, "{background}");
        let scheme = if dark { "dark" } else { "light" };
        keep(&format!("report-{width}-{scheme}.png"), &browser.screenshot()?)?;
    }
    let bars = browser.value("document.querySelectorAll('.bar').length")?;
    assert_eq!(bars, 11, "three steps on each of three platforms, and two tasks");
    assert_eq!(browser.value("document.querySelectorAll('.chip').length")?, 6);
    assert_eq!(browser.value("document.querySelectorAll('.tile').length")?, 15);
    Ok(())
}

/// The WCAG contrast of the text of every element that has some, against the colour behind it: those below 4.5.
const CONTRAST: &str = r"(() => {
    const parse = text => (text.match(/[\d.]+/g) || []).map(Number);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const color = parse(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const poor = [];
    for (const element of document.querySelectorAll('body *')) {
        if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push(element.className + ' ' + element.textContent.slice(0, 40) + ' ' + ratio.toFixed(2));
    }
    return poor;
})()";

#[test]
fn the_page_is_legible_without_colour_and_runs_nothing() -> TestResult {
    let fixture = Fixture::new()?;
    let page = written(&fixture)?;
    let mut browser = Browser::start()?;
    for dark in [false, true] {
        browser.resize(1280, 800, dark)?;
        browser.open(&page)?;
        assert_eq!(browser.value(CONTRAST)?, json!([]), "dark: {dark}");
    }
    // Kinds differ in their letter and in their pattern, not only in their colour.
    let looks = "['native', 'emulated', 'cached', 'failed'].map(kind => { \
        const swatch = document.querySelector('.swatch.' + kind), style = getComputedStyle(swatch); \
        return [swatch.textContent, style.backgroundImage, style.borderStyle].join(); })";
    let looks = browser.value(looks)?;
    let mut looks: Vec<String> = looks.as_array().into_iter().flatten().map(Value::to_string).collect();
    looks.sort();
    looks.dedup();
    assert_eq!(looks.len(), 4, "{looks:?}");
    assert!(
        looks.iter().filter(|look| look.contains("gradient")).count() == 2,
        "{looks:?}"
    );

    assert_eq!(browser.value("document.scripts.length + document.images.length")?, 0);
    let title = browser.value("document.title")?;
    assert!(title.to_string().contains("registry.example/team/app:1.4.0"), "{title}");
    let foreign: Vec<&String> = browser
        .requests()
        .iter()
        .filter(|address| !address.starts_with("file://"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    Ok(())
}

/// What has the focus: its class, its kind, and the ring around it. Nothing at the end of the page.
const STOP: &str = "(() => { const at = document.activeElement; \
    return at === document.body ? '' : [at.className, at.tagName, getComputedStyle(at).outlineStyle].join('|'); })()";

#[test]
fn the_page_is_used_by_keyboard() -> TestResult {
    let fixture = Fixture::new()?;
    let page = written(&fixture)?;
    let mut browser = Browser::start()?;
    browser.resize(1280, 800, false)?;
    browser.open(&page)?;
    browser.press("Tab")?;
    assert_eq!(
        browser.value("document.activeElement.className")?,
        "skip",
        "the first stop leads past the heading"
    );
    let visible = "(() => { const box = document.activeElement.getBoundingClientRect(); return box.left >= 0 && box.width > 0; })()";
    assert_eq!(browser.value(visible)?, true);
    let mut stops = Vec::new();
    for _ in 0..200 {
        browser.press("Tab")?;
        let stop = browser.value(STOP)?;
        let stop = stop.as_str().unwrap_or_default().to_owned();
        if stop.is_empty() || stop.starts_with("skip") {
            break;
        }
        assert!(stop.ends_with("|solid"), "what has the focus shows it: {stop}");
        stops.push(stop);
    }
    let count = |class: &str| stops.iter().filter(|stop| stop.starts_with(class)).count();
    assert_eq!(
        (count("bar"), count("chip"), count("tile"), count("|SUMMARY")),
        (11, 6, 15, 15),
        "{stops:?}"
    );

    // A bar leads to its step, which opens.
    let open = "document.querySelector('#step-3').closest('details').open";
    assert_eq!(browser.value(open)?, false);
    browser.value("document.querySelector(\".bar[href='#step-3']\").focus()")?;
    browser.press("Enter")?;
    assert_eq!(browser.value(open)?, true);
    let text = browser
        .value("document.querySelector('#step-3').innerText")?
        .to_string();
    assert!(text.contains("run.sh (644 → 755)"), "{text}");
    // A list item opens and closes with Enter.
    browser.value("document.querySelector('#step-4').closest('details').firstElementChild.focus()")?;
    browser.press("Enter")?;
    assert_eq!(
        browser.value("document.querySelector('#step-4').closest('details').open")?,
        true
    );
    Ok(())
}

#[test]
fn a_real_build_has_a_page() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nCOPY file /\nRUN sleep 0.2 && head -c 300000 /dev/urandom > /data\n";
    fixture.context("app", &[("Dockerfile", dockerfile), ("file", "1")])?;
    let platforms = "linux/amd64,linux/arm64";
    fixture
        .kiln([
            "build",
            "--platform",
            platforms,
            "-t",
            "example.test/app:1",
            "-o",
            "type=oci,dest=out.tar",
            "app",
        ])
        .run()?
        .assert_success();
    let printed = fixture
        .kiln(["history", "report", "-o", "build.html"])
        .succeed()?
        .stdout_text();
    assert_eq!(printed, "build.html\n");
    let mut browser = Browser::start()?;
    browser.resize(1280, 800, false)?;
    browser.open(&fixture.directory().join("build.html"))?;
    let text = browser.value("document.body.innerText")?;
    let text = text.as_str().unwrap_or_default();
    for expected in [
        "linux/arm64",
        "E emulated",
        "N native",
        "Critical path",
        "example.test/app:1",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let layers = browser.value("document.querySelectorAll('tbody tr').length")?;
    assert_eq!(layers, 6, "three layers on each of two platforms");
    keep("report-real.png", &browser.screenshot()?)?;
    let streamed = fixture.kiln(["report", "-o", "-"]).succeed()?.stdout_text();
    assert_eq!(streamed, fs::read_to_string(fixture.directory().join("build.html"))?);
    Ok(())
}
