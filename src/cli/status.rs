//! `status`: asks a running gateway how it is.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::ask;
use super::load::load;
use crate::config::{Config, Secret};
use crate::http::Status;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate status
  tidegate status -c /etc/tidegate/tidegate.toml --watch
  tidegate status --http 127.0.0.1:9470 --json | jq .queue
  HEALTHCHECK CMD [\"tidegate\", \"status\", \"--healthy\"]")]
pub struct Args {
    /// The gateway's configuration: says where it listens, and its token
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDR", conflicts_with = "config", default_value = "127.0.0.1:9470", value_parser = ask::address)]
    http: SocketAddr,
    /// The answer of /status as it is
    #[arg(long)]
    json: bool,
    /// Says nothing: exit code 0 if the gateway is alive, else 1
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    healthy: bool,
    /// Asks again every two seconds
    #[arg(long)]
    watch: bool,
}

const EVERY: Duration = Duration::from_secs(2);

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (at, token) = match args.config {
        Some(file) => place(load(&file)?)?,
        None => (args.http, None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if args.healthy {
            ask::answer(ask::get(at, "/healthz", None).await?).context("the gateway is not healthy")?;
        } else if args.watch {
            watch(at, token.as_ref(), args.json).await?;
        } else {
            let report = report(at, token.as_ref(), args.json).await?;
            std::io::stdout().write_all(report.as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn place(config: Config) -> anyhow::Result<(SocketAddr, Option<Secret>)> {
    let listen = config.http.listen.context("this gateway has no HTTP port; set listen in [http]")?;
    Ok((listen, config.http.token))
}

/// Until the terminal or the reader of the pipe has had enough.
async fn watch(at: SocketAddr, token: Option<&Secret>, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let page = out.is_terminal() && !json;
    loop {
        // A gateway that restarts is what one watches for: it is no reason to stop.
        let report = report(at, token, json)
            .await
            .unwrap_or_else(|error| if json { String::new() } else { format!("{error:#}\n") });
        if page {
            write!(out, "\x1b[H\x1b[J")?;
        }
        out.write_all(report.as_bytes())?;
        out.flush()?;
        tokio::time::sleep(EVERY).await;
    }
}

async fn report(at: SocketAddr, token: Option<&Secret>, json: bool) -> anyhow::Result<String> {
    let body = ask::answer(ask::get(at, "/status", token).await?)?;
    let status: Status = serde_json::from_slice(&body)
        .context("the gateway's answer is not understood; is it of the same version as this command?")?;
    if json {
        return Ok(String::from_utf8(body)? + "\n");
    }
    let mut report = status.to_string();
    report.extend(status.unready().iter().map(|reason| format!("not ready: {reason}\n")));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::http::tests::Server;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once("status").chain(line.split_whitespace())).map(|line| line.args)
    }

    #[tokio::test]
    async fn the_summary_ends_with_why_it_is_not_ready() {
        let server = Server::start(None).await;
        let fine = report(server.at, None, false).await.unwrap();
        assert!(fine.starts_with("gateway  plant-7") && fine.ends_with("gaps     0\n"), "{fine}");
        server.status.send_modify(|status| status.storage.writable = false);
        let broken = report(server.at, None, false).await.unwrap();
        assert!(broken.ends_with("not ready: the storage is not writable\n"), "{broken}");
    }

    #[tokio::test]
    async fn json_is_one_line_that_reads_back() {
        let server = Server::start(None).await;
        let json = report(server.at, None, true).await.unwrap();
        assert_eq!(json.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), *server.status.borrow());
    }

    #[tokio::test]
    async fn a_missing_token_is_named_and_the_right_one_opens() {
        let server = Server::start(Some("sesame")).await;
        let error = report(server.at, None, false).await.unwrap_err().to_string();
        assert!(error.contains("wants its token"), "{error}");
        assert!(report(server.at, Some(&Secret(b"sesame".to_vec())), false).await.is_ok());
    }

    #[test]
    fn healthy_is_the_exit_code_of_a_living_gateway_and_an_error_without_one() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(Server::start(Some("sesame")));
        let args = parse(&format!("--healthy --http {}", server.at)).unwrap();
        assert_eq!(run(args).unwrap(), ExitCode::SUCCESS);
        let at = server.at;
        drop(runtime);
        let error = run(parse(&format!("--healthy --http {at}")).unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("no gateway listens"), "{error:#}");
    }

    #[test]
    fn the_line_says_where_to_ask() {
        assert_eq!(parse("").unwrap().http, ([127, 0, 0, 1], 9470).into());
        assert_eq!(parse("-c x.toml").unwrap().config.as_deref(), Some(std::path::Path::new("x.toml")));
        assert!(parse("-c x.toml --http 127.0.0.1:1").is_err());
        assert!(parse("--http nowhere").is_err());
        assert!(parse("--healthy --watch").is_err());
    }
}
