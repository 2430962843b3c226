//! A life drawn from a seed: a window, and a log of readings in disorder, silences, outages, restarts and wrong clocks.

use super::*;

pub struct Life {
    pub spec: Spec,
    pub log: Vec<Group>,
    /// The seconds that passed before each group while the gateway was running.
    pub passed: Vec<i64>,
}

pub const KINDS: [(Kind, Option<&str>); 17] = [
    (Kind::Count, None),
    (Kind::Count, Some("x")),
    (Kind::CountDistinct, Some("i")),
    (Kind::Sum, Some("i")),
    (Kind::Sum, Some("x")),
    (Kind::Avg, Some("x")),
    (Kind::Min, Some("x")),
    (Kind::Max, Some("i")),
    (Kind::StddevPop, Some("x")),
    (Kind::StddevSamp, Some("i")),
    (Kind::VarPop, Some("i")),
    (Kind::VarSamp, Some("x")),
    (Kind::FirstValue, Some("x")),
    (Kind::LastValue, Some("i")),
    (Kind::Percentile(0.9), Some("x")),
    (Kind::Rate, Some("i")),
    (Kind::TimeAvg, Some("x")),
];

impl Life {
    pub fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let spec = draw_spec(&mut rng);
        let mut life = Self { spec, log: Vec::new(), passed: Vec::new() };
        let mut log = Log::default();
        let (mut now, mut boots) = (0, 0);
        let devices = rng.i64(1..5);
        let mut clocks: Vec<i64> = (0..devices).map(|_| rng.i64(-30..30)).collect();
        for _ in 0..rng.usize(20..70) {
            let pause = if rng.u8(0..12) == 0 { rng.i64(20..90) } else { rng.i64(0..4) };
            now += pause;
            for clock in &mut clocks {
                *clock += pause;
            }
            let mut passed = pause;
            let entries = match rng.u8(0..40) {
                0 => {
                    if rng.bool() {
                        boots += 1;
                        log.boot(&format!("boot {boots}"), now * SECOND);
                    }
                    passed = 0;
                    vec![Entry::Started]
                }
                1 => {
                    log.synced = !log.synced;
                    vec![Entry::Tick]
                }
                2 => {
                    log.step += rng.i64(-50..50) * SECOND;
                    vec![Entry::Tick]
                }
                3..6 => vec![Entry::Down(source(&mut rng).into())],
                6..13 => vec![Entry::Up(source(&mut rng).into())],
                13..17 => vec![Entry::Tick],
                _ => (0..rng.usize(1..7)).map(|_| draw_reading(&mut rng, &mut clocks, pause)).collect(),
            };
            life.log.push(log.stamped(now * SECOND, entries));
            life.passed.push(passed);
        }
        life.log.push(log.stamped(now * SECOND, vec![Entry::End]));
        life.passed.push(0);
        // The log knows of no time before it began.
        life.passed[0] = 0;
        life
    }
}

fn draw_spec(rng: &mut fastrand::Rng) -> Spec {
    let mut spec = spec();
    let second = |n: i64| n * SECOND;
    spec.plan.shape = match rng.u8(0..4) {
        0 => Shape::Tumble { size: second(rng.i64(1..20)) },
        1 | 2 => Shape::Hop { slide: second(rng.i64(1..12)), size: second(rng.i64(1..30)) },
        _ => Shape::Session { gap: second(rng.i64(1..12)) },
    };
    spec.plan.keys = [Ref::Device, Ref::Field("k".into())].into_iter().filter(|_| rng.bool()).map(Expr::Ref).collect();
    spec.plan.device_key = spec.plan.keys.iter().position(|key| *key == Expr::Ref(Ref::Device));
    spec.plan.aggregates = KINDS.map(|(kind, field)| aggregate(kind, field)).into();
    spec.plan.select = (0..KINDS.len()).map(|n| (format!("{n}").into(), Expr::Ref(Ref::Aggregate(n)))).collect();
    spec.by = if rng.bool() { By::Device } else { By::Source };
    spec.watermark = second(rng.i64(0..10));
    spec.idle_timeout = second(rng.i64(1..30));
    spec.max_ahead = second(100);
    spec
}

fn source(rng: &mut fastrand::Rng) -> &'static str {
    if rng.u8(0..3) == 0 { "boiler" } else { "plant" }
}

fn draw_reading(rng: &mut fastrand::Rng, clocks: &mut [i64], pause: i64) -> Entry {
    let device = rng.usize(0..clocks.len());
    clocks[device] += rng.i64(-1..3).max(0);
    let disorder = if rng.u8(0..10) == 0 { rng.i64(0..40) } else { rng.i64(0..6) };
    let ahead = if rng.u8(0..40) == 0 { 1000 } else { 0 };
    let time = MIDNIGHT + (clocks[device] - disorder + ahead) * SECOND;
    let mut fields: Vec<(Arc<str>, Value)> = Vec::new();
    if rng.u8(0..5) > 0 {
        // Values far from zero against their spread, where careless sums go wrong.
        fields.push(("x".into(), Value::F64(1e6 + f64::from(rng.i32(-1000..1000)) / 7.0)));
    }
    if rng.u8(0..5) > 0 {
        let large = rng.u8(0..20) == 0;
        fields.push(("i".into(), Value::I64(if large { i64::MAX / 3 } else { rng.i64(0..50) })));
    }
    if rng.u8(0..3) > 0 {
        fields.push(("k".into(), Value::I64(rng.i64(0..2))));
    }
    let entry = reading(source(rng), &format!("d{device}"), (rng.u8(0..30) > 0).then_some(time), fields);
    let Entry::Reading { reading, .. } = entry else { unreachable!("just made") };
    Entry::Reading { reading, age: (rng.i64(0..=pause) * SECOND) as u32 }
}
