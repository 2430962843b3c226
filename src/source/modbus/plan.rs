//! Which requests bring the registers of a unit. Pure.
//!
//! Registers side by side, or one over the other, come with one request. Nothing is read over a hole: many meters refuse a
//! whole request for an address in it that they do not have.

use crate::config::{Register, Table};

/// The most that one request may ask for (Modbus Application Protocol V1.1b3, sections 6.1 to 6.4).
const WORDS: u16 = 125;
const BITS: u16 = 2_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub table: Table,
    pub first: u16,
    pub count: u16,
    /// Places in the unit's list of registers, and where each begins in the answer.
    pub registers: Vec<(usize, usize)>,
}

/// By table and address, the fewest there can be.
#[must_use]
pub fn requests(registers: &[Register]) -> Vec<Request> {
    let mut sorted: Vec<_> = registers.iter().enumerate().collect();
    sorted.sort_by_key(|(_, register)| (register.table, register.address, register.length()));
    let mut requests: Vec<Request> = Vec::new();
    for (place, register) in sorted {
        let most = u32::from(if register.table.is_bits() { BITS } else { WORDS });
        let end = u32::from(register.address) + u32::from(register.length());
        let joined = requests.last_mut().filter(|last| {
            let last_end = u32::from(last.first) + u32::from(last.count);
            last.table == register.table
                && u32::from(register.address) <= last_end
                && end.max(last_end) - u32::from(last.first) <= most
        });
        match joined {
            Some(last) => {
                let last_end = u32::from(last.first) + u32::from(last.count);
                last.count = (end.max(last_end) - u32::from(last.first)) as u16;
                last.registers.push((place, (register.address - last.first).into()));
            }
            None => requests.push(Request {
                table: register.table,
                first: register.address,
                count: register.length(),
                registers: vec![(place, 0)],
            }),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kind, Order};

    fn register(table: Table, address: u16, kind: Kind) -> Register {
        Register { field: String::new(), table, address, kind, order: Order::Abcd, scale: None, offset: None }
    }

    fn shapes(registers: &[Register]) -> Vec<(Table, u16, u16)> {
        requests(registers).iter().map(|request| (request.table, request.first, request.count)).collect()
    }

    #[test]
    fn what_lies_side_by_side_comes_with_one_request_in_whatever_order_it_was_written() {
        let registers = [(10, Kind::U32), (0, Kind::F32), (2, Kind::U16), (3, Kind::Text(13))]
            .map(|(address, kind)| register(Table::Input, address, kind));
        let [request] = &requests(&registers)[..] else { panic!() };
        assert_eq!((request.first, request.count), (0, 12));
        assert_eq!(request.registers, [(1, 0), (2, 2), (3, 3), (0, 10)]);
    }

    #[test]
    fn nothing_is_read_over_a_hole_or_from_another_table() {
        let registers = [
            register(Table::Input, 0, Kind::U16),
            register(Table::Input, 2, Kind::U16),
            register(Table::Holding, 1, Kind::U16),
        ];
        assert_eq!(shapes(&registers), [(Table::Input, 0, 1), (Table::Input, 2, 1), (Table::Holding, 1, 1)]);
    }

    #[test]
    fn one_over_the_other_is_read_once() {
        let kinds = [Kind::Bit(0), Kind::Bit(7), Kind::U16, Kind::U32];
        let registers = kinds.map(|kind| register(Table::Holding, 5, kind));
        assert_eq!(shapes(&registers), [(Table::Holding, 5, 2)]);
        let wide = [register(Table::Holding, 0, Kind::U64), register(Table::Holding, 1, Kind::U16)];
        assert_eq!(shapes(&wide), [(Table::Holding, 0, 4)], "the shorter one inside does not cut it");
    }

    #[test]
    fn a_request_asks_for_no_more_than_the_standard_allows_and_cuts_no_value() {
        let words: Vec<_> = (0..100).map(|n| register(Table::Input, n * 4, Kind::U64)).collect();
        assert_eq!(
            shapes(&words),
            [(Table::Input, 0, 124), (Table::Input, 124, 124), (Table::Input, 248, 124), (Table::Input, 372, 28)]
        );
        let bits: Vec<_> = (0..2_500).map(|n| register(Table::Coil, n, Kind::Bool)).collect();
        assert_eq!(shapes(&bits), [(Table::Coil, 0, 2_000), (Table::Coil, 2_000, 500)]);
        assert_eq!(shapes(&[register(Table::Input, 65_411, Kind::Text(250))]), [(Table::Input, 65_411, 125)]);
    }
}
