//! The data types of RFC 4251, section 5.

/// Reads one value after the other. None: the bytes end too early.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    /// A positive number, big-endian, without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.string().map(without_zeros)
    }
}

pub(super) fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Writes one value after the other.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn number(mut self, number: usize) -> Writer {
        // Nothing that is written here comes near the limit of a message.
        self.0.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
        self
    }

    pub(super) fn string(self, bytes: &[u8]) -> Writer {
        let mut writer = self.number(bytes.len());
        writer.0.extend_from_slice(bytes);
        writer
    }

    /// A positive number, big-endian.
    pub(super) fn integer(self, bytes: &[u8]) -> Writer {
        let digits = without_zeros(bytes);
        // The highest bit is the sign.
        if digits.first().is_some_and(|first| first & 0x80 != 0) {
            self.string(&[&[0], digits].concat())
        } else {
            self.string(digits)
        }
    }
}
