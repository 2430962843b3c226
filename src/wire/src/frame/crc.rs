//! CRC-16/X-25: polynomial 1021 reflected, from FFFF, inverted at the end (Koopman's catalogue; ITU-T V.42).

const TABLE: [u16; 256] = table();

pub struct Crc(u16);

impl Default for Crc {
    fn default() -> Self {
        Self(0xFFFF)
    }
}

impl Crc {
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 >> 8) ^ TABLE[usize::from((self.0 ^ u16::from(*byte)) & 0xFF)];
        }
    }

    pub fn value(&self) -> u16 {
        !self.0
    }
}

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x8408 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_catalogue() {
        let mut crc = Crc::default();
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.value(), 0x906E);
    }
}
