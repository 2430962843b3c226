//! DATA, ACK and HELLO, as a sensor sees them.

use serde_json::json;
use tidegate::simulate::serial::firmware::encode;
use tidegate::source::{Item, Reason};
use tidegate_wire::frame::Kind;

use super::rig::Rig;

#[tokio::test]
async fn an_ack_leaves_only_once_the_reading_is_stored() {
    let mut rig = Rig::frames("serial-ack", 10);
    let mut sensor = rig.plug().await;
    sensor.data(7, "{\"temp\":21.5}").await;
    sensor.data(8, "{\"temp\":22}").await;
    let (first, stored_first) = rig.delivery().await;
    let (_second, stored_second) = rig.delivery().await;
    assert_eq!(&*first.readings[0].fields[0].0, "temp");
    sensor.no_ack().await;
    stored_first.confirm();
    assert_eq!(sensor.ack().await, 7);
    sensor.no_ack().await;
    stored_second.confirm();
    assert_eq!(sensor.ack().await, 8);
    rig.metric_reaches("source_acks_total{outcome=\"sent\",source=\"wire\"}", 2).await;
    assert_eq!(rig.metric("source_frames_total{source=\"wire\"}"), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_reading_that_was_not_stored_is_not_acknowledged() {
    let mut rig = Rig::frames("serial-lost", 10);
    let mut sensor = rig.plug().await;
    sensor.data(7, "1").await;
    let (_delivery, ack) = rig.delivery().await;
    drop(ack);
    sensor.no_ack().await;
}

#[tokio::test]
async fn a_hello_is_acknowledged_at_once_and_names_the_device() {
    let mut rig = Rig::serial("serial-hello", "framing = \"cobs\"\ndevice = \"configured\"", 10);
    let mut sensor = rig.plug().await;
    sensor.data(1, "1").await;
    assert_eq!(rig.reading().await, ("configured".to_owned(), json!({"value": 1})));
    assert_eq!(sensor.ack().await, 1);
    sensor.hello(0xABCD_0007, "boiler-1").await;
    assert_eq!(sensor.ack().await, 7);
    sensor.data(8, "2").await;
    assert_eq!(rig.reading().await, ("boiler-1".to_owned(), json!({"value": 2})));
    assert_eq!(sensor.ack().await, 8);
    sensor.hello(9, "").await;
    assert_eq!(sensor.ack().await, 9);
    sensor.data(10, "3").await;
    assert_eq!(rig.reading().await.0, "configured", "this one says no name");
    rig.stop().await;
}

#[tokio::test]
async fn without_a_name_from_anyone_the_device_is_the_source() {
    let mut rig = Rig::serial("serial-unnamed", "framing = \"cobs\"\ndevice_field = \"id\"", 10);
    let sensor = rig.plug().await;
    sensor.data(1, "1").await;
    assert_eq!(rig.reading().await.0, "wire");
    sensor.data(2, "{\"id\":\"own\",\"t\":1}").await;
    assert_eq!(rig.reading().await, ("own".to_owned(), json!({"t": 1})), "the payload knows best");
    rig.stop().await;
}

#[tokio::test]
async fn a_repeat_is_stored_once_and_acknowledged_again_but_not_before_it_is_stored() {
    let mut rig = Rig::frames("serial-repeat", 10);
    let mut sensor = rig.plug().await;
    sensor.hello(100, "d").await;
    assert_eq!(sensor.ack().await, 100);
    sensor.data(101, "1").await;
    let (_, stored) = rig.delivery().await;
    sensor.data(101, "1").await;
    rig.metric_reaches("door_repeats_total{source=\"wire\"}", 1).await;
    sensor.no_ack().await;
    stored.confirm();
    assert_eq!(sensor.ack().await, 101);
    sensor.data(101, "1").await;
    assert_eq!(sensor.ack().await, 101, "its ACK was lost, perhaps");
    sensor.data(101, "2").await;
    assert_eq!(rig.reading().await.1, json!({"value": 2}), "another payload is another reading");
    assert_eq!(rig.outcome("repeat"), 2);
    rig.stop().await;
}

#[tokio::test]
async fn without_a_hello_equal_frames_are_two_readings() {
    let mut rig = Rig::frames("serial-no-hello", 10);
    let mut sensor = rig.plug().await;
    for _ in 0..3 {
        sensor.data(5, "1").await;
        rig.reading().await;
        assert_eq!(sensor.ack().await, 5);
    }
    assert_eq!(rig.outcome("repeat"), 0);
    rig.stop().await;
}

#[tokio::test]
async fn once_a_hello_was_read_nothing_from_before_it_is_acknowledged() {
    let mut rig = Rig::frames("serial-before-hello", 10);
    let mut sensor = rig.plug().await;
    sensor.hello(100, "d").await;
    assert_eq!(sensor.ack().await, 100);
    sensor.data(101, "1").await;
    let (_, stored_before) = rig.delivery().await;
    sensor.hello(200, "d").await;
    assert_eq!(sensor.ack().await, 200);
    sensor.data(201, "2").await;
    let (_, stored_after) = rig.delivery().await;
    stored_before.confirm();
    stored_after.confirm();
    assert_eq!(sensor.ack().await, 201, "that of 101 would be taken for one of this life");
    sensor.no_ack().await;
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_decoded_is_a_dead_letter_and_acknowledged_like_a_reading() {
    let mut rig = Rig::serial("serial-letter", "framing = \"cobs\"\nmax_frame = 100", 10);
    let mut sensor = rig.plug().await;
    for (seq, payload, reason) in [
        (1, "{\"temp\":".to_owned(), Reason::Malformed),
        (2, "{}".to_owned(), Reason::Empty),
        (3, String::new(), Reason::Empty),
        (4, format!("\"{}\"", "x".repeat(99)), Reason::Oversize),
    ] {
        sensor.data(seq, &payload).await;
        let (delivery, stored) = rig.delivery().await;
        let [letter] = &delivery.rejects[..] else { panic!("{delivery:?}") };
        assert_eq!((letter.reason, &letter.payload[..]), (reason, payload.as_bytes()));
        assert_eq!(&*letter.origin, rig.path().to_str().unwrap());
        sensor.no_ack().await;
        stored.confirm();
        assert_eq!(sensor.ack().await, seq, "it would come again for ever");
    }
    assert_eq!(rig.faults("oversize"), 1);
    sensor.data(5, &format!("\"{}\"", "x".repeat(98))).await;
    assert_eq!(rig.reading().await.1, json!({"value": "x".repeat(98)}), "just as long as it may be");
    rig.stop().await;
}

#[tokio::test]
async fn noise_costs_no_more_than_the_frame_it_falls_into_and_each_fault_is_counted() {
    let mut rig = Rig::frames("serial-noise", 10);
    let mut sensor = rig.plug().await;
    let whole = encode(Kind::Data, 2, b"{\"temp\":1}");
    let mut flipped = whole.clone();
    flipped[6] ^= 0x10;
    let frames: [(&str, &[u8]); 4] = [
        ("checksum", &flipped),
        ("cut", &[200, 1, 2, 3, 0]),
        ("cut", &[3, 1, 2, 0]),
        ("kind", &encode(Kind::Ack, 9, b"")),
    ];
    for (at, (fault, bytes)) in frames.iter().enumerate() {
        let before = rig.faults(fault);
        sensor.send(bytes).await;
        let seq = 10 + at as u16;
        sensor.data(seq, &at.to_string()).await;
        assert_eq!(rig.reading().await.1, json!({"value": at}), "the next frame is read");
        assert_eq!(sensor.ack().await, seq, "and what is broken is answered by nothing");
        assert_eq!(rig.faults(fault), before + 1, "{fault}");
    }
    // A frame that is cut by the next one's beginning takes that with it; one after an end does not.
    sensor.send(&whole[..5]).await;
    sensor.send(&[0]).await;
    sensor.data(20, "20").await;
    assert_eq!(rig.reading().await.1, json!({"value": 20}));
    assert_eq!(sensor.ack().await, 20);
    sensor.send(&vec![7; 200_000]).await;
    sensor.send(&[0]).await;
    sensor.data(21, "21").await;
    assert_eq!(rig.reading().await.1, json!({"value": 21}));
    assert_eq!(rig.faults("oversize"), 1, "counted once");
    sensor.send(&encode(Kind::Hello, 9, b"abc")).await;
    sensor.send(&encode(Kind::Hello, 9, b"abcd\xFF")).await;
    rig.metric_reaches("source_frame_faults_total{fault=\"hello\",source=\"wire\"}", 2).await;
    rig.stop().await;
}

#[tokio::test]
async fn seeded_noise_of_any_kind_loses_nothing_that_is_sent_until_it_is_acknowledged() {
    let mut rig = Rig::frames("serial-seeds", 100);
    let mut sensor = rig.plug().await;
    let mut random = fastrand::Rng::with_seed(7);
    sensor.hello(0, "d").await;
    assert_eq!(sensor.ack().await, 0);
    for seq in 1..=200 {
        let noise: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
        sensor.send(&noise).await;
        let mut frame = encode(Kind::Data, seq, seq.to_string().as_bytes());
        if random.u8(..4) == 0 {
            frame.truncate(random.usize(..frame.len()));
        }
        // Noise may have taken the beginning of the frame with it: as firmware does, it is sent again.
        sensor.send(&frame).await;
        sensor.send(&[0]).await;
        sensor.data(seq, &seq.to_string()).await;
        assert_eq!(rig.reading().await.1, json!({"value": seq}));
        assert_eq!(sensor.ack().await, seq);
        while sensor.try_ack().await.is_some_and(|again| again == seq) {}
    }
    assert!(rig.faults("checksum") + rig.faults("cut") > 50);
    rig.stop().await;
}

#[tokio::test]
async fn while_the_inbox_is_full_the_port_is_not_read_and_everything_comes_once_there_is_room() {
    let mut rig = Rig::frames("serial-full", 2);
    let sensor = rig.plug().await;
    let pty = std::sync::Arc::new(sensor.pty);
    let (sends, payload) = (pty.clone(), "x".repeat(200));
    let sending = tokio::spawn(async move {
        for seq in 0..200_u16 {
            let frame = encode(Kind::Data, seq, format!("{{\"n\":{seq},\"pad\":\"{payload}\"}}").as_bytes());
            sends.write(&frame).await.unwrap();
        }
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!sending.is_finished(), "the line is full, and the sensor waits");
    assert!(rig.metric("source_frames_total{source=\"wire\"}") <= 3, "two in the inbox and one that waits");
    for n in 0..200 {
        assert_eq!(rig.reading().await.1["n"], n);
    }
    sending.await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn a_sensor_that_never_reads_its_acks_does_not_hold_up_what_it_sends() {
    let mut rig = Rig::frames("serial-deaf", 300);
    let sensor = rig.plug().await;
    // Their ACKs are more than the line holds, and more than wait for it.
    for seq in 0..14_000_u16 {
        sensor.data(seq, "1").await;
        rig.reading().await;
    }
    rig.metric_reaches("source_acks_total{outcome=\"dropped\",source=\"wire\"}", 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_gateway_that_stops_stores_and_acknowledges_what_it_has_taken() {
    let mut rig = Rig::frames("serial-stop", 10);
    let mut sensor = rig.plug().await;
    sensor.data(1, "1").await;
    let (_, stored) = rig.delivery().await;
    let (_items, task) = rig.stopping();
    sensor.no_ack().await;
    assert!(!task.is_finished(), "it waits for what it has taken");
    stored.confirm();
    assert_eq!(sensor.ack().await, 1);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_read_before_the_device_was_unplugged_is_not_acknowledged_to_the_next_one() {
    let mut rig = Rig::frames("serial-replug", 10);
    let sensor = rig.plug().await;
    sensor.hello(6, "first").await;
    sensor.data(7, "1").await;
    let (_, stored) = rig.delivery().await;
    drop(sensor);
    assert!(rig.is_down("was unplugged").await.contains("plug the device in again"));
    assert!(matches!(rig.next().await, Item::Down(_)));
    let mut sensor = rig.plug().await;
    stored.confirm();
    sensor.data(7, "1").await;
    let (delivery, stored) = rig.delivery().await;
    assert_eq!(&*delivery.readings[0].series.device, "first", "nobody has said another name since");
    sensor.no_ack().await;
    stored.confirm();
    assert_eq!(sensor.ack().await, 7);
    rig.stop().await;
}

#[tokio::test]
async fn a_value_that_is_no_news_is_acknowledged_but_not_before_the_one_it_repeats_is_stored() {
    let mut rig = Rig::serial("serial-no-news", "framing = \"cobs\"\n[source.filter]\non_change = [\"value\"]", 10);
    let mut sensor = rig.plug().await;
    sensor.data(7, "1").await;
    let (_, stored) = rig.delivery().await;
    // Without a HELLO it is no repeat, but it says nothing new.
    sensor.data(7, "1").await;
    sensor.no_ack().await;
    stored.confirm();
    assert_eq!((sensor.ack().await, sensor.ack().await), (7, 7));
    sensor.data(8, "1").await;
    assert_eq!(sensor.ack().await, 8);
    assert_eq!(rig.outcome("filtered"), 2);

    // What a sensor has not heard of comes again after a restart, under another seq.
    sensor.data(9, "2").await;
    let (_, stored) = rig.delivery().await;
    sensor.hello(100, "wire").await;
    assert_eq!(sensor.ack().await, 100);
    sensor.data(101, "2").await;
    assert_eq!(rig.reading().await.1, json!({"value": 2}), "the first is not stored yet");
    stored.confirm();
    assert_eq!(sensor.ack().await, 101);
    rig.stop().await;
}
