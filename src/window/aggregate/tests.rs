use super::*;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// The answer over rows in this order, each at its own second.
fn over(kind: Kind, rows: &[(i64, Value)]) -> (Datum, Counts) {
    let (mut state, mut counts) = (State::of(kind), Counts::default());
    for (second, value) in rows {
        state.add(&Input { time: second * 1_000_000, series: "", value }, &mut counts);
    }
    let written = serde_cbor::ser::to_vec_packed(&state).unwrap();
    let again: State = serde_cbor::from_slice(&written).unwrap();
    assert_eq!(format!("{again:?}"), format!("{state:?}"), "what was written comes back");
    (state.finish(kind, 60_000_000, &mut counts), counts)
}

fn answer(kind: Kind, values: &[Value]) -> Datum {
    let rows: Vec<_> = (0..).zip(values.iter().cloned()).collect();
    over(kind, &rows).0
}

fn floats(values: &[f64]) -> Vec<Value> {
    values.iter().copied().map(Value::F64).collect()
}

#[test]
fn sums_of_integers_are_integers_as_long_as_they_fit() {
    use Value::{I64, U64};
    assert_eq!(answer(Kind::Sum, &[]), None);
    assert_eq!(answer(Kind::Sum, &[I64(2), I64(-5)]), Some(I64(-3)));
    assert_eq!(answer(Kind::Sum, &[I64(i64::MAX), I64(1)]), Some(U64(1 << 63)));
    let (beyond, counts) = over(Kind::Sum, &[(0, U64(u64::MAX)), (1, I64(1))]);
    assert_eq!((beyond, counts.integer_overflow), (Some(Value::F64(18_446_744_073_709_551_616.0)), 1));
    let (below, counts) = over(Kind::Sum, &[(0, I64(i64::MIN)), (1, I64(-1)), (2, I64(1))]);
    assert_eq!((below, counts.integer_overflow), (Some(I64(i64::MIN)), 0), "only the end counts");
}

#[test]
fn sums_and_averages_are_of_numbers_alone() {
    let mixed = [Value::I64(1), text("7"), Value::Bool(true), Value::F64(0.5)];
    assert_eq!(answer(Kind::Sum, &mixed), Some(Value::F64(1.5)));
    assert_eq!(answer(Kind::Avg, &mixed), Some(Value::F64(0.75)));
    assert_eq!(answer(Kind::Avg, &[text("7")]), None);
    assert_eq!(answer(Kind::Avg, &[Value::I64(1), Value::I64(2)]), Some(Value::F64(1.5)));
}

#[test]
fn a_spread_far_from_zero_is_not_lost() {
    let far = floats(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
    assert_eq!(answer(Kind::VarSamp, &far), Some(Value::F64(30.0)));
    assert_eq!(answer(Kind::VarPop, &far), Some(Value::F64(22.5)));
    assert_eq!(answer(Kind::StddevPop, &far), Some(Value::F64(22.5_f64.sqrt())));
    assert_eq!(answer(Kind::StddevSamp, &far[..1]), None, "one value has no sample variance");
    assert_eq!(answer(Kind::VarPop, &far[..1]), Some(Value::F64(0.0)));
    assert_eq!(answer(Kind::VarPop, &[]), None);
}

#[test]
fn least_and_greatest_compare_exactly_across_types() {
    let close = [Value::F64(9_007_199_254_740_992.0), Value::I64(9_007_199_254_740_993)];
    assert_eq!(answer(Kind::Max, &close), Some(close[1].clone()));
    assert_eq!(answer(Kind::Min, &close), Some(close[0].clone()));
    let large = [Value::U64(u64::MAX), Value::F64(1.8e19), Value::I64(-1)];
    assert_eq!(answer(Kind::Max, &large), Some(large[0].clone()));
    assert_eq!(answer(Kind::Min, &large), Some(large[2].clone()));
    assert_eq!(answer(Kind::Max, &[text("a"), text("b")]), Some(text("b")));
    assert_eq!(answer(Kind::Min, &[Value::Bool(true), Value::Bool(false)]), Some(Value::Bool(false)));
    for same in [[Value::I64(1), Value::F64(1.0)], [Value::F64(1.0), Value::I64(1)]] {
        assert_eq!(answer(Kind::Min, &same), Some(Value::I64(1)), "of equal ones, whatever came first");
    }
}

#[test]
fn first_and_last_are_by_event_time_and_then_by_the_log() {
    let rows = [(5, text("b")), (3, text("a")), (3, text("x")), (5, text("c")), (4, text("y"))];
    assert_eq!(over(Kind::FirstValue, &rows).0, Some(text("a")));
    assert_eq!(over(Kind::LastValue, &rows).0, Some(text("c")));
}

#[test]
fn distinct_values_are_counted_exactly_and_then_at_least() {
    assert_eq!(answer(Kind::CountDistinct, &[Value::I64(1), Value::F64(1.0), text("1")]), Some(Value::I64(2)));
    let many: Vec<_> = (0..10_003).map(|n| (n, Value::I64(n))).collect();
    let (count, counts) = over(Kind::CountDistinct, &many);
    assert_eq!((count, counts.distinct_overflow), (Some(Value::I64(10_000)), 3));
}

#[test]
fn parts_merged_are_the_whole() {
    let rows: Vec<_> = (0..60).map(|n| (n, Value::F64((n * 17 % 23) as f64 / 10.0))).collect();
    let kinds = [
        Kind::Count,
        Kind::CountDistinct,
        Kind::Sum,
        Kind::Avg,
        Kind::Min,
        Kind::Max,
        Kind::StddevPop,
        Kind::VarSamp,
        Kind::FirstValue,
        Kind::LastValue,
        Kind::Percentile(0.9),
        Kind::Rate,
        Kind::TimeAvg,
    ];
    for kind in kinds {
        let mut counts = Counts::default();
        let mut merged = State::of(kind);
        for part in rows.chunks(7) {
            let mut state = State::of(kind);
            for (second, value) in part {
                state.add(&Input { time: second * 1_000_000, series: "", value }, &mut counts);
            }
            merged.merge(&state, &mut counts);
        }
        assert_eq!(merged.finish(kind, 60_000_000, &mut counts), over(kind, &rows).0, "{kind:?}");
    }
}
