//! Whatever rows go in come out again; whatever bytes come in, nothing breaks.

use std::sync::Arc;

use tidegate_wire::{
    ClockState, Codec, Envelope, Refusal, Row, Series, Value, decode_body, decode_record, encode_body, encode_record,
};

/// A small generator of our own: seeded, and the same everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn value(&mut self) -> Value {
        const FLOATS: [f64; 9] =
            [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX, 0.1, 1e22];
        match self.below(12) {
            0 => Value::F64(FLOATS[self.below(9) as usize]),
            1 => Value::F64(f64::from_bits(self.next())),
            2..5 => Value::F64(self.below(100_000) as f64 / 100.0),
            5 => Value::from(self.next()),
            6 => Value::I64(self.next() as i64),
            7 => Value::I64([i64::MIN, i64::MAX, 0, -1, (1 << 53) - 1, 1 << 53][self.below(6) as usize]),
            8 => Value::I64(self.below(1000) as i64 * 100),
            9 => Value::Bool(self.below(2) == 1),
            10 => Value::Text(["", "on", "off", "größer"][self.below(4) as usize].into()),
            _ => Value::F64(self.below(50) as f64),
        }
    }

    fn rows(&mut self) -> Vec<Row> {
        let series: Vec<Arc<Series>> = (0..=self.below(4))
            .map(|n| {
                let tags = (0..self.below(3)).map(|tag| (format!("t{tag}").into(), format!("{n}").into())).collect();
                let window = (self.below(4) == 0).then(|| "w".into());
                Arc::new(Series { source: "s".into(), device: format!("d{n}").into(), tags, window })
            })
            .collect();
        let (tame, mut offset) = (self.below(2) == 0, self.below(1 << 40));
        (0..=self.below(60))
            .map(|_| {
                offset += 1 + self.below(3);
                let shared = series[self.below(series.len() as u64) as usize].clone();
                // Now and then an equal series that is not the same one.
                let series = if self.below(5) == 0 { Arc::new((*shared).clone()) } else { shared };
                let time = if tame { 1_790_000_000_000_000 + offset as i64 * 1000 } else { self.next() as i64 };
                let names = ["a", "b.c", "zz", "é"];
                let names = names.iter().filter(|_| self.below(3) > 0).copied().collect::<Vec<_>>();
                let fields = names.into_iter().map(|name| (name.into(), self.value())).collect();
                Row { offset, time, received: None, series, fields }
            })
            .collect()
    }
}

fn envelope(rows: &[Row], size: usize) -> Envelope {
    Envelope {
        gateway: "plant-7".into(),
        stream: "readings".into(),
        lane: 0,
        epoch: 1_793_500_000,
        first: rows.first().unwrap().offset,
        last: rows.last().unwrap().offset,
        prev: Some((1_793_400_000, 41)),
        count: rows.len() as u64,
        clock: ClockState::Synced,
        codec: Codec::None,
        size: size as u64,
    }
}

fn record(rows: &[Row]) -> Vec<u8> {
    let body = encode_body(rows);
    encode_record(&envelope(rows, body.len()), &body)
}

fn read(record: &[u8]) -> Result<Vec<Row>, Refusal> {
    let (envelope, body) = decode_record(record)?;
    decode_body(&envelope, body)
}

/// Equal by value; floats bit for bit, unless a whole one came back as an integer.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F64(x), Value::F64(y)) => x.to_bits() == y.to_bits(),
        (Value::F64(x), Value::I64(n)) | (Value::I64(n), Value::F64(x)) => {
            n.unsigned_abs() < 1 << 53 && x.to_bits() == (*n as f64).to_bits()
        }
        _ => a == b,
    }
}

#[test]
fn any_rows_come_back() {
    for seed in 1..3000 {
        let mut random = Random(seed);
        let rows = random.rows();
        let bytes = record(&rows);
        let back = read(&bytes).unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}"));
        assert_eq!(back.len(), rows.len(), "seed {seed}");
        for (row, back) in rows.iter().zip(&back) {
            assert_eq!((row.offset, row.time, &row.series), (back.offset, back.time, &back.series), "seed {seed}");
            let mut fields = row.fields.clone();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(fields.len(), back.fields.len(), "seed {seed}");
            for ((name, value), (back_name, back_value)) in fields.iter().zip(&back.fields) {
                assert!(name == back_name && same(value, back_value), "seed {seed}: {value:?} became {back_value:?}");
            }
        }
    }
}

#[test]
fn the_moment_of_arrival_goes_along_where_it_differs() {
    let mut rows = Random(7).rows();
    for row in &mut rows {
        row.received = Some(row.time.saturating_add(5));
    }
    assert!(read(&record(&rows)).unwrap().iter().all(|row| row.received == Some(row.time.saturating_add(5))));
    for row in &mut rows {
        row.received = Some(row.time);
    }
    assert!(read(&record(&rows)).unwrap().iter().all(|row| row.received.is_none()));
}

#[test]
fn changed_cut_and_lengthened_records_are_refused_or_read_and_never_panic() {
    let mut random = Random(99);
    for seed in 1..40 {
        let good = record(&Random(seed).rows());
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        for _ in 0..2000 {
            let mut bad = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bad.len() as u64) as usize;
                bad[at] = random.next() as u8;
            }
            let _ = read(&bad);
        }
        let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
        assert_eq!(read(&longer), Err(Refusal::TrailingBytes));
    }
}

#[test]
fn two_decimals_with_an_odd_one_out_stay_decimals() {
    let series = Arc::new(Series { source: "s".into(), device: "d".into(), ..Series::default() });
    let row = |offset: u64, x: f64| Row {
        offset,
        time: offset as i64,
        received: None,
        series: series.clone(),
        fields: vec![("x".into(), Value::F64(x))],
    };
    let mut rows: Vec<_> = (0..64).map(|n| row(n, 20.0 + n as f64 / 100.0)).collect();
    let plain = encode_body(&rows).len();
    rows[30] = row(30, 1.0 / 3.0);
    let with_exception = encode_body(&rows).len();
    assert!(with_exception < plain + 20, "{plain} and {with_exception}");
}
