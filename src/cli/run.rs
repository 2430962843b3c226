//! `tidegate run`: the gateway itself.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{allocator, load};
use crate::gateway;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tidegate run -c /etc/tidegate/tidegate.toml\n\nSIGINT or SIGTERM ends it: sources stop, \
                        what they brought is committed and acknowledged,\nthe record on the road is finished. A second \
                        signal ends it at once; nothing committed is lost by that."
)]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    allocator::settle();
    let config = load::load(&args.config)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let asked = async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            tracing::info!("stopping; a second signal stops at once");
            tokio::spawn(async move {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                tracing::warn!("stopped at once");
                std::process::exit(0);
            });
        };
        gateway::run(config, asked).await?;
        Ok(ExitCode::SUCCESS)
    })
}
