//! Some hundred lives: what the fold says is what the model says, and a crash at any moment changes nothing.

use super::life::{KINDS, Life};
use super::model::{Expected, Model};
use super::*;

const LIVES: u64 = 300;

#[test]
fn rows_are_what_a_plain_recomputation_gives() {
    let mut rows = 0;
    for seed in 0..LIVES {
        let life = Life::draw(seed);
        let mut windows = Windows::new(vec![life.spec.clone()]);
        let mut model = Model::new(life.spec.clone());
        for (group, passed) in life.log.iter().zip(&life.passed) {
            let folded = windows.apply(group);
            let (mut expected, late) = model.apply(group, *passed);
            let context = format!("seed {seed}, group at {}: {group:?}\n{:?}", group.first, life.spec.plan.shape);
            assert_eq!(folded.counts[0].late, late, "{context}");
            let forwarded = folded.aside.iter().filter(|aside| aside.why == Why::Late).count();
            assert_eq!(forwarded as u64, late, "{context}");
            compare(&life.spec, folded.rows, &mut expected, &context);
            rows += expected.len();
        }
        assert!(!windows.is_open(), "seed {seed}: the end closes all");
    }
    assert!(rows > 8_000, "{rows} rows: too little happens in these lives");
}

#[track_caller]
fn compare(spec: &Spec, mut rows: Vec<Closed>, expected: &mut [Expected], context: &str) {
    let device = |expected: &Expected| match spec.plan.device_key {
        Some(number) => format!("{:?}", expected.key[number]),
        None => String::new(),
    };
    let answers = |expected: &Expected| expected.answers();
    expected.sort_by_cached_key(|expected| {
        (
            expected.end,
            device(expected),
            expected.start,
            format!("{:?}", answers(expected).first()),
            fingerprint(&answers(expected)),
        )
    });
    rows.sort_by_cached_key(|row| {
        let device = match spec.plan.device_key {
            Some(_) => format!("{:?}", Some(Value::Text(row.device.clone()))),
            None => String::new(),
        };
        let answers = answers_of(row);
        (row.end, device, row.start, format!("{:?}", answers.first()), fingerprint(&answers))
    });
    assert_eq!(rows.len(), expected.len(), "{context}\n{rows:#?}\n{expected:#?}");
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!((row.start, row.end), (expected.start, expected.end), "{context}");
        for ((n, got), want) in (0..).zip(answers_of(row)).zip(expected.answers()) {
            let (kind, field) = KINDS[n];
            assert!(
                agree(kind, got.as_ref(), want.as_ref()),
                "{context}\n{kind:?} of {field:?}: {got:?}, not {want:?}"
            );
        }
    }
}

/// What tells apart rows of one device and window with different keys, and is exact: the integers among the answers.
fn fingerprint(answers: &[Option<Value>]) -> String {
    let exact = [0, 1, 2, 3, 6, 7, 12, 13];
    format!("{:?}", exact.map(|n| answers[n].clone()))
}

fn answers_of(row: &Closed) -> Vec<Option<Value>> {
    let answer = |n: usize| {
        let name = n.to_string();
        row.fields.iter().find(|(field, _)| **field == *name).map(|(_, value)| value.clone())
    };
    (0..KINDS.len()).map(answer).collect()
}

/// Exactly, but for what is made of sums of floats.
fn agree(kind: Kind, got: Option<&Value>, want: Option<&Value>) -> bool {
    match (got, want) {
        (Some(Value::F64(got)), Some(Value::F64(want))) => match kind {
            Kind::Min | Kind::Max | Kind::FirstValue | Kind::LastValue | Kind::Percentile(_) => {
                got.to_bits() == want.to_bits()
            }
            // The model's own two passes lose more than the fold does.
            Kind::VarPop | Kind::VarSamp | Kind::StddevPop | Kind::StddevSamp => close(*got, *want, 1e-6),
            _ => close(*got, *want, 0.0),
        },
        _ => got == want,
    }
}

fn close(got: f64, want: f64, near_zero: f64) -> bool {
    (got - want).abs() <= 1e-9 * got.abs().max(want.abs()) + near_zero
}

#[test]
fn a_crash_at_any_step_changes_no_row() {
    for seed in 0..LIVES / 2 {
        let mut life = Life::draw(seed);
        if seed % 2 == 0 {
            life.spec.max_groups = 3;
        }
        let specs = || {
            let mut second = life.spec.clone();
            (second.name, second.by, second.plan.shape) = ("v".into(), By::Source, Shape::Tumble { size: 3 * SECOND });
            vec![life.spec.clone(), second]
        };
        let mut reference = Windows::new(specs());
        let expected: Vec<_> = life.log.iter().map(|group| reference.apply(group)).collect();

        let mut rng = fastrand::Rng::with_seed(seed ^ 0x00C0_FFEE);
        let (mut pieces, mut position) = (Vec::new(), 0);
        let (mut windows, _) = Windows::restore(specs(), &pieces).unwrap();
        for step in 0..life.log.len() {
            assert_eq!(windows.apply(&life.log[step]), expected[step], "seed {seed}, step {step}");
            // A crash here: what is on disk is the last checkpoint, and the log.
            windows = Windows::restore(specs(), &pieces).unwrap().0;
            for (group, expected) in life.log.iter().zip(&expected).take(step + 1).skip(position) {
                let folded = windows.apply(group);
                assert_eq!(folded, *expected, "seed {seed}: {} again after a crash at {step}", group.first);
            }
            if rng.u8(0..4) == 0 {
                position = step + 1;
                if rng.u8(0..5) == 0 {
                    // A new generation begins with a snapshot, and changes go on from what was handed out last.
                    pieces = windows.snapshot().collect();
                } else {
                    pieces.push(windows.changes());
                }
            }
        }
    }
}
