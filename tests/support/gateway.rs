//! The real binary, as a user runs it: started with a configuration, asked over HTTP, killed, started again.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::TempDir;
use super::binary::binary;

/// The longest anything in a test is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway's configuration and data directory, and the process while it runs.
pub struct TestGateway {
    pub dir: TempDir,
    pub http: SocketAddr,
    /// What its environment has beside the test's own.
    pub env: Vec<(&'static str, PathBuf)>,
    config: PathBuf,
    child: Option<Child>,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl TestGateway {
    /// A gateway that reads from an MQTT port and writes to a Kinesis endpoint. `more` is appended to the file.
    pub fn new(name: &str, mqtt_port: u16, endpoint: &str, more: &str) -> Self {
        Self::with_sources(name, &fleet_source(name, mqtt_port, ""), endpoint, more)
    }

    pub fn with_sources(name: &str, sources: &str, endpoint: &str, more: &str) -> Self {
        let dir = TempDir::new(name);
        let http = free_address();
        let text = format!(
            "{sources}\n[gateway]\nid = \"{name}\"\ndata_dir = \"{data}\"\n\
             [kinesis]\nstream = \"telemetry\"\nregion = \"eu-west-1\"\nendpoint_url = \"{endpoint}\"\n\
             [kinesis.backoff]\nbase = \"20ms\"\nmax = \"500ms\"\n[http]\nlisten = \"{http}\"\n{more}\n",
            data = dir.path.join("data").display(),
        );
        let config = dir.path.join("tidegate.toml");
        std::fs::write(&config, text).unwrap();
        Self { dir, http, env: Vec::new(), config, child: None }
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Changes its configuration, for the next start.
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        std::fs::write(&self.config, change(std::fs::read_to_string(&self.config).unwrap())).unwrap();
    }

    /// What it has said since it was started last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path.join("stderr")).unwrap_or_default()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path.join("data")
    }

    /// Starts the process and returns once it is ready to take readings.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Starts the process; it may be on its way to an error.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let child = binary()
            .args(["run", "-c", self.config.to_str().unwrap()])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.path.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub async fn ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok((200, _)) = self.get("/readyz").await {
                return;
            }
            if let Some(child) = &mut self.child
                && let Ok(Some(_)) = child.try_wait()
            {
                panic!("the gateway ended: {:?}", self.wait());
            }
            assert!(Instant::now() < until, "not ready: {:?}", self.get("/readyz").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns once its port answers.
    pub async fn alive(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.get("/healthz").await.is_err() {
            if let Ok(Some(_)) = self.child.as_mut().unwrap().try_wait() {
                panic!("the gateway ended: {:?}", self.wait());
            }
            assert!(Instant::now() < until, "it does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Status code and text of a page.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let (code, body) = tidegate::cli::ask::get(self.http, path, None).await?;
        Ok((code, String::from_utf8(body)?))
    }

    /// Has every window that is open close.
    pub async fn close_windows(&self) {
        let (code, _) = tidegate::cli::ask::post(self.http, "/windows/close", None).await.unwrap();
        assert_eq!(code, 200);
    }

    /// The value of a metric, labels as written; 0 where it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// SIGSTOP, then something that the gateway must not see half done, then SIGCONT.
    pub fn while_stopped(&self, act: impl FnOnce()) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, Signal::STOP).unwrap();
        // Told of when the last of its threads stands still.
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "{status:?}");
        act();
        kill_process(pid, Signal::CONT).unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> Ended {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), Signal::TERM).unwrap();
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                child.kill().unwrap();
                panic!("the gateway does not end");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ended { status, stderr: self.log() }
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The source that the fleet's topics come by; `more` are keys of its own.
pub fn fleet_source(client_id: &str, mqtt_port: u16, more: &str) -> String {
    format!(
        "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{mqtt_port}\"\nclient_id = \"{client_id}\"\n\
         {more}\n[[source.subscribe]]\nfilter = \"sensors/+/telemetry\"\ntopic = \"sensors/{{device}}/telemetry\"\nformat = \"json\"\ntime = \"ts\"\n"
    )
}

/// An address on loopback that nothing listens on now, and that nobody else here was given: the kernel may give one twice.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address) {
            return address;
        }
    }
}

/// Runs the binary to its end.
pub fn tidegate(args: &[&str]) -> std::process::Output {
    binary().args(args).output().unwrap()
}
