//! `moto`'s server, which speaks S3: a real implementation that other projects test against, from PyPI.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::TestkitError;
use crate::http::{Request, exchange};
use crate::program::{Program, cache_directory, on_path};

/// The release that the tests were written with.
const PACKAGE: &str = "moto[server]==5.2.5";

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct MotoServer {
    child: Child,
    address: String,
}

impl MotoServer {
    /// Why it cannot run on this machine; None if it can.
    pub fn missing() -> Option<&'static str> {
        on_path("python3").is_none().then_some("`python3` is not installed")
    }

    /// Starts a server on a free loopback port, with one empty bucket. The package is installed at first use.
    pub fn start(bucket: &str) -> Result<MotoServer, TestkitError> {
        let program = installed()?;
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(TestkitError::file("find a free port of", "127.0.0.1"))?;
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(TestkitError::file("start", &program))?;
        let server = MotoServer {
            child,
            address: address.to_string(),
        };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&server.address).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        let create = Request::new("PUT", &format!("/{bucket}")).with_header("host", server.address.clone());
        exchange(&server.address, &create).map_err(TestkitError::file("create a bucket on", &server.address))?;
        Ok(server)
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for MotoServer {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program in an environment of its own, which is made once.
fn installed() -> Result<PathBuf, TestkitError> {
    let directory = cache_directory()?.join("moto-5.2.5");
    let program = directory.join("bin/moto_server");
    if program.exists() {
        return Ok(program);
    }
    let place = directory.display().to_string();
    Program::new("python3").args(["-m", "venv", &place]).succeed()?;
    Program::new(directory.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", PACKAGE])
        .limit(Duration::from_secs(300))
        .succeed()?;
    Ok(program)
}
