//! What a report of `simulate` says of a gateway that was killed, or whose power was cut.
//!
//! Nothing is shed, nothing rots and every sensor keeps what is not acknowledged: all that was generated has to arrive,
//! and a gap is as wrong as a loss.

use tidegate::simulate::report::Report;

/// What is wrong, in words.
pub fn wrong(report: &Report) -> Option<String> {
    let Report { delivered, generated, gaps, verdict, .. } = report;
    match lost(report) {
        _ if !report.is_ok() => Some(verdict.clone()),
        0 if *gaps == 0 => None,
        0 => Some(format!("{gaps} gaps")),
        lost => Some(format!("{lost} of {} readings are lost, {} arrived", generated.readings, delivered.unique)),
    }
}

/// Readings that were acknowledged and are gone, with a gap record or without.
pub fn lost(report: &Report) -> u64 {
    report.generated.readings.saturating_sub(report.delivered.unique)
}

/// Whether a gateway did not live until it was killed, or stopped.
pub fn has_failed_start(report: &Report) -> bool {
    report.fault.is_some()
}

/// What is wrong where the medium itself has lost something: whatever is missing has to be told of.
pub fn untold(report: &Report) -> Option<String> {
    let Report { delivered, verdict, fault, .. } = report;
    let missing = if is_unjudged(report) { 0 } else { delivered.lost + report.unexplained };
    let is_wrong = fault.is_some() || missing + delivered.corrupt + delivered.out_of_order > 0;
    is_wrong.then(|| verdict.clone())
}

/// Whether nobody can say if all that is missing was told of: a gap record was lost as well, which another says, and what
/// it had said is not known any more.
pub fn is_unjudged(report: &Report) -> bool {
    report.gap_records_lost > 0 && report.delivered.lost + report.unexplained > 0
}
