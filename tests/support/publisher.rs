//! A publisher that says what it saw: one numbered message after the other, each sent until the broker has confirmed it,
//! through any number of broken connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::gateway::PATIENCE;

pub struct Publisher {
    confirmed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Publishes `{"n":0}`, `{"n":1}` and so on to this topic until it is stopped.
    pub fn start(port: u16, topic: &str) -> Self {
        let (confirmed, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, stopped, topic) = (confirmed.clone(), stop.clone(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // The broker is away, or goes away: the same number again on the next connection.
                if publish(port, &topic, &counts, &stopped).is_err() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { confirmed, stop, thread }
    }

    /// Resolves once the broker has confirmed so many more.
    pub async fn confirms(&self, more: u64) {
        let (least, until) = (self.confirmed.load(Ordering::Relaxed) + more, Instant::now() + PATIENCE);
        while self.confirmed.load(Ordering::Relaxed) < least {
            assert!(Instant::now() < until, "the broker does not confirm {more} more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it, and returns how many the broker has confirmed.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.confirmed.load(Ordering::Relaxed)
    }
}

fn publish(port: u16, topic: &str, confirmed: &AtomicU64, stopped: &AtomicBool) -> io::Result<()> {
    let mut broker = TcpStream::connect(("127.0.0.1", port))?;
    broker.set_read_timeout(Some(Duration::from_secs(5)))?;
    // MQTT 3.1.1, a clean session, no keep-alive, a client id that the broker makes up.
    broker.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0")?;
    let mut answer = [0; 4];
    broker.read_exact(&mut answer)?;
    while !stopped.load(Ordering::Relaxed) {
        let n = confirmed.load(Ordering::Relaxed);
        let payload = format!("{{\"n\":{n}}}");
        let mut packet = vec![0x32, (4 + topic.len() + payload.len()) as u8, 0, topic.len() as u8];
        packet.extend(topic.bytes());
        packet.extend([0, 1]);
        packet.extend(payload.bytes());
        broker.write_all(&packet)?;
        broker.read_exact(&mut answer)?;
        assert_eq!(answer, [0x40, 2, 0, 1], "a PUBACK");
        confirmed.store(n + 1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
