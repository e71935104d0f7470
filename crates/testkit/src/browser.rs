//! A headless Chromium that is driven over its debugging pipe: pages of an exact width, light and dark, with keys that
//! are really pressed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::TestkitError;
use crate::program::on_path;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, as Debian has it.
const PROGRAM: &str = "chromium";

/// A browser with one page. Dropped: it ends.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// Addresses that the page asked for, itself first.
    requests: Vec<String>,
    /// Messages of errors that the page ran into, such as a policy that refused something.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser with an empty page.
    pub fn start() -> Result<Browser, TestkitError> {
        if on_path(PROGRAM).is_none() {
            return Err(TestkitError::Missing {
                what: PROGRAM.to_owned(),
                remedy: "`cargo xtask test` installs it, or `apt-get install chromium`".to_owned(),
            });
        }
        let start = |source| TestkitError::Start {
            program: PROGRAM.to_owned(),
            source,
        };
        let profile = tempfile::tempdir().map_err(start)?;
        // The pipe is on descriptors 3 and 4, which only a shell can be asked for without unsafe code.
        let script = format!(
            "exec {PROGRAM} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-extensions --disable-background-networking --remote-debugging-pipe --user-data-dir=\"$1\" \
             3<&0 4>&1 1>/dev/null 2>/dev/null 0</dev/null"
        );
        let mut child = Command::new("bash")
            .args(["-c", &script, "browser"])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(commands), Some(answers)) = (commands, answers) else {
            return Err(start(std::io::ErrorKind::BrokenPipe.into()));
        };
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else {
                    continue;
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser {
            child,
            commands,
            messages,
            session: None,
            next: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach)?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Network.enable", "Log.enable"] {
            browser.call(domain, json!({}))?;
        }
        Ok(browser)
    }

    /// Makes the page so many CSS pixels wide and high, in the light or the dark scheme.
    pub fn resize(&mut self, width: u32, height: u32, dark: bool) -> Result<(), TestkitError> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        // Scroll bars of some kinds would take their width from the page.
        self.call("Emulation.setScrollbarsHidden", json!({"hidden": true}))?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).map(drop)
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, path: &Path) -> Result<(), TestkitError> {
        let address = format!("file://{}", path.display());
        self.call("Page.navigate", json!({"url": address}))?;
        let deadline = Instant::now() + PATIENCE;
        while self.receive(deadline)?["method"] != "Page.loadEventFired" {}
        Ok(())
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Result<Value, TestkitError> {
        let asked = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(failure(&format!("`{expression}` throws {details}"))),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Presses and releases a key, such as `Tab` or `Enter`.
    pub fn press(&mut self, key: &str) -> Result<(), TestkitError> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => (0, key),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// A PNG of the whole page, however long.
    pub fn screenshot(&mut self) -> Result<Vec<u8>, TestkitError> {
        let asked = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", asked)?;
        let data = answer["data"].as_str().unwrap_or_default();
        STANDARD.decode(data).map_err(|error| failure(&error.to_string()))
    }

    /// Addresses that pages asked for so far.
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    /// What pages complained of so far.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Calls a method of the debugging protocol and waits for its answer.
    fn call(&mut self, method: &str, parameters: Value) -> Result<Value, TestkitError> {
        self.next += 1;
        let number = self.next;
        let mut message = json!({"id": number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let sent = self.commands.write_all(&bytes).and_then(|()| self.commands.flush());
        sent.map_err(|error| failure(&format!("{method}: {error}")))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.receive(deadline)?;
            if answer["id"] != number {
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(failure(&format!("{method}: {error}"))),
                None => Ok(answer["result"].clone()),
            };
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Value, TestkitError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = self.messages.recv_timeout(left);
        let message = message.map_err(|error| failure(&format!("no answer: {error}")))?;
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let address = message["params"]["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(address.to_owned());
            }
            Some("Log.entryAdded") => self.complaints.push(message["params"]["entry"]["text"].to_string()),
            _ => {}
        }
        Ok(message)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failure(what: &str) -> TestkitError {
    TestkitError::Program {
        program: PROGRAM.to_owned(),
        status: "does not answer as expected".to_owned(),
        stderr: what.to_owned(),
    }
}
