//! The answering end of Modbus, RTU and TCP, for the four functions that read. Pure.
//!
//! ```text
//! RTU   unit u8 | function u8 | … | CRC-16/MODBUS, low byte first
//! TCP   transaction u16 | 0 u16 | length u16 | unit u8 | function u8 | …
//! ```
//!
//! (Modbus Application Protocol V1.1b3, sections 6.1 to 6.4; Modbus over Serial Line V1.02; Messaging on TCP/IP V1.0b.)

/// A request to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub unit: u8,
    /// 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
    pub function: u8,
    pub first: u16,
    pub count: u16,
}

pub enum Reply {
    /// As many as were asked for; of bits 0 or 1.
    Words(Vec<u16>),
    Exception(u8),
    Silence,
}

/// Takes the first request off what a line has brought, and gives the bytes that answer it; `None`: there is none yet.
pub fn rtu(bytes: &mut Vec<u8>, reply: impl FnOnce(Asked) -> Reply) -> Option<Vec<u8>> {
    loop {
        let request: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
        let [low, high] = crc(&request[..6]).to_le_bytes();
        if request[6..] != [low, high] {
            // Noise: the request begins further on.
            bytes.remove(0);
            continue;
        }
        bytes.drain(..8);
        let unit = request[0];
        let mut answer = vec![unit];
        answer.extend(pdu(unit, &request[1..6], reply)?);
        let [low, high] = crc(&answer).to_le_bytes();
        answer.extend([low, high]);
        return Some(answer);
    }
}

/// The same of a TCP connection.
pub fn tcp(bytes: &mut Vec<u8>, reply: impl FnOnce(Asked) -> Reply) -> Option<Vec<u8>> {
    let request: [u8; 12] = bytes.get(..12)?.try_into().ok()?;
    bytes.drain(..12);
    let pdu = pdu(request[6], &request[7..12], reply)?;
    let mut answer = request[..4].to_vec();
    answer.extend((pdu.len() as u16 + 1).to_be_bytes());
    answer.push(request[6]);
    answer.extend(pdu);
    Some(answer)
}

fn pdu(unit: u8, request: &[u8], reply: impl FnOnce(Asked) -> Reply) -> Option<Vec<u8>> {
    let &[function, a, b, c, d] = request else { return None };
    let asked = Asked { unit, function, first: u16::from_be_bytes([a, b]), count: u16::from_be_bytes([c, d]) };
    match reply(asked) {
        Reply::Silence => None,
        Reply::Exception(code) => Some(vec![function | 0x80, code]),
        Reply::Words(bits) if function <= 2 => {
            let byte = |bits: &[u16]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit != 0));
            Some(counted(function, bits.chunks(8).map(byte).collect()))
        }
        Reply::Words(words) => Some(counted(function, words.iter().flat_map(|word| word.to_be_bytes()).collect())),
    }
}

fn counted(function: u8, data: Vec<u8>) -> Vec<u8> {
    let mut pdu = vec![function, data.len() as u8];
    pdu.extend(data);
    pdu
}

/// CRC-16/MODBUS: polynomial 8005 reflected, from FFFF.
fn crc(bytes: &[u8]) -> u16 {
    let bit = |crc: u16| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
    bytes.iter().fold(0xFFFF, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_catalogue() {
        assert_eq!(crc(b"123456789"), 0x4B37);
    }

    #[test]
    fn requests_are_found_behind_noise_and_answered_as_the_standard_shows() {
        // The example of section 6.4: input register 8 (from zero) holds 000A.
        let mut line = vec![1, 2, 3];
        let mut request = vec![0x11, 4, 0, 8, 0, 1];
        request.extend(crc(&request).to_le_bytes());
        line.extend(&request[..5]);
        assert_eq!(rtu(&mut line, |_| Reply::Silence), None);
        line.extend(&request[5..]);
        let mut asked = None;
        let answer = rtu(&mut line, |seen| {
            asked = Some(seen);
            Reply::Words(vec![10])
        });
        assert_eq!(asked, Some(Asked { unit: 0x11, function: 4, first: 8, count: 1 }));
        assert_eq!(answer.unwrap()[..5], [0x11, 4, 2, 0, 10]);
        // Section 6.1: coils 20 to 38 as CD 6B 05.
        let bits = [0xCD_u8, 0x6B, 0x05].iter().flat_map(|byte| (0..8).map(move |bit| u16::from(byte >> bit & 1)));
        let bits: Vec<u16> = bits.take(19).collect();
        let mut stream = vec![0, 7, 0, 0, 0, 6, 1, 1, 0, 19, 0, 19];
        assert_eq!(tcp(&mut stream, |_| Reply::Words(bits)).unwrap(), [0, 7, 0, 0, 0, 6, 1, 1, 3, 0xCD, 0x6B, 0x05]);
    }
}
