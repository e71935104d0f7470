//! A program that says which processor it was compiled for.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut names = std::env::args().skip(1);
    let name = names.next().unwrap_or_else(|| "world".to_owned());
    if names.next().is_some() {
        eprintln!("usage: app [NAME]");
        return ExitCode::from(2);
    }
    println!("hello {name} from Rust on {}", std::env::consts::ARCH);
    ExitCode::SUCCESS
}
