//! From sensors to a Kinesis that is not ours, read back as a consumer reads: with `GetRecords`.

use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::simulate::broker::Broker;
use tidegate::simulate::fleet::{Ledger, Target, open_session, play};
use tidegate::simulate::sensor::Sensor;
use tidegate::simulate::verify::Check;

use crate::support::gateway::TestGateway;
use crate::support::moto::Moto;

/// The binary is killed twice in mid-stream; all that was published arrives, in order, and every repeat is recognised.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_read_back_from_the_stream_through_two_kills() {
    let Some(moto) = Moto::start("telemetry", 2).await else { return };
    let broker = Broker::start().await.unwrap();
    let target = Target { host: "127.0.0.1".to_owned(), port: broker.address().port() };
    open_session(&target, "cloud", "sensors/+/telemetry").await.unwrap();
    let source = format!(
        "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{}\"\nclient_id = \"cloud\"\n\
         [[source.subscribe]]\nfilter = \"sensors/+/telemetry\"\ntopic = \"sensors/{{device}}/telemetry\"\n\
         format = \"json\"\ntime = \"ts\"\n",
        target.port
    );
    let more = "[batch]\nmax_age = \"300ms\"\n";
    let mut gateway = TestGateway::with_sources("cloud", &source, &moto.url(), more);
    gateway.start().await;

    let sensors: Vec<_> = (0..20).map(|index| Sensor::synthetic(11, index, 20.0)).collect();
    let ledger = Arc::new(Ledger::new(sensors.len(), Clock::System.now().wall));
    let (fleet, script) = (ledger.clone(), sensors.clone());
    let fleet = tokio::spawn(async move { play(&script, &target, Some(Duration::from_secs(4)), &fleet).await });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        gateway.kill();
        gateway.start().await;
    }
    fleet.await.unwrap().unwrap();

    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    let check = loop {
        let mut check = Check::new(&sensors, ledger.clone());
        moto.records("telemetry").await.iter().for_each(|record| check.take(record));
        if check.lost() == 0 || tokio::time::Instant::now() > until {
            break check;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let tally = check.tally();
    assert!(ledger.total() > 1_000);
    assert_eq!((check.lost(), tally.unique), (0, ledger.total()), "{:?}", tally.first_fault);
    assert_eq!((tally.corrupt, tally.unreadable, tally.out_of_order), (0, 0, 0), "{:?}", tally.first_fault);
    assert_eq!(check.consumer().holes(), []);
    assert_eq!(gateway.stop().status.code(), Some(0));
}
