//! `kiln run`.

use std::path::PathBuf;

use clap::Args;

/// The flags of `docker run` that make sense without a daemon.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Platform of the image [default: this machine's]
    #[arg(long)]
    pub platform: Option<String>,
    /// Accepted for compatibility: what a container writes is always thrown away
    #[arg(long)]
    pub rm: bool,
    /// Environment variable, NAME=VALUE, or NAME for this environment's value (repeatable)
    #[arg(short, long)]
    pub env: Vec<String>,
    /// Directory or file to mount, SOURCE:TARGET[:ro] (repeatable)
    #[arg(short, long)]
    pub volume: Vec<String>,
    /// Working directory
    #[arg(short, long)]
    pub workdir: Option<String>,
    /// User, NAME|UID[:GROUP|GID]
    #[arg(short, long)]
    pub user: Option<String>,
    /// Program instead of the image's
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Pass standard input on
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Network: host or none
    #[arg(long, default_value = "host")]
    pub network: String,
    /// Ask the registry again what the tag points at
    #[arg(long)]
    pub pull: bool,
    /// Directory with emulators, before all others (repeatable)
    #[arg(long, value_name = "DIR")]
    pub emulator_dir: Vec<PathBuf>,
    /// The image
    pub image: String,
    /// Command and arguments instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}
