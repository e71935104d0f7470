//! Numbers: binary floating point with 512 bits, as the peer's language computes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use num_bigint::{BigInt, BigUint, Sign};
use num_integer::Integer;
use num_traits::{One, ToPrimitive, Zero};

/// Bits of a number's mantissa.
const PRECISION: u64 = 512;
/// Exponents of two beyond this are an overflow: digits take time and space.
const LARGEST_EXPONENT: i64 = 16_384;
/// Digits and exponents of written numbers beyond this are refused before any arithmetic.
const LONGEST_TEXT: usize = 4096;

/// A finite number. The mantissa is odd or zero, so that equal numbers are equal structures.
#[derive(Debug, Clone)]
pub struct Number {
    negative: bool,
    mantissa: BigUint,
    exponent: i64,
    /// Bits that it was computed with: they decide how many digits are shown. Not part of its identity.
    precision: u64,
}

impl Number {
    /// Zero.
    pub fn zero() -> Number {
        Number::from(0)
    }

    /// A number as it is written: digits, perhaps with a sign, a fraction and an exponent. None if it is no number, or
    /// one that is too long or too large.
    pub fn parse(text: &str) -> Option<Number> {
        if text.len() > LONGEST_TEXT {
            return None;
        }
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (digits, exponent) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
            None => (digits, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let exponent = exponent.checked_sub(fraction.len() as i64)?;
        if exponent.unsigned_abs() > 2 * LONGEST_TEXT as u64 {
            return None;
        }
        let digits = BigUint::parse_bytes(all.as_bytes(), 10)?;
        if exponent >= 0 {
            let power = BigUint::from(10u8).pow(exponent as u32);
            return Number::rounded(negative, digits * power, 0, false, PRECISION);
        }
        let power = BigUint::from(10u8).pow(exponent.unsigned_abs() as u32);
        Number::quotient(negative, &digits, &power, 0, PRECISION)
    }

    /// Whole digits in another base. None for anything else.
    pub fn parse_radix(text: &str, radix: u32) -> Option<Number> {
        if text.len() > LONGEST_TEXT || !(2..=36).contains(&radix) {
            return None;
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return None;
        }
        Number::rounded(
            negative,
            BigUint::parse_bytes(digits.as_bytes(), radix)?,
            0,
            false,
            PRECISION,
        )
    }

    /// The number nearest to a floating point one; None if that is infinite or none.
    pub fn from_f64(value: f64) -> Option<Number> {
        if !value.is_finite() {
            return None;
        }
        let bits = value.to_bits();
        let biased = ((bits >> 52) & 0x7ff) as i64;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, exponent) = if biased == 0 {
            (fraction, -1074)
        } else {
            (fraction | (1 << 52), biased - 1075)
        };
        Number::rounded(value.is_sign_negative(), BigUint::from(mantissa), exponent, false, 53)
    }

    /// The nearest floating point number.
    pub fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The whole number that it is, if it is one that fits.
    pub fn to_i64(&self) -> Option<i64> {
        self.to_bigint()?.to_i64()
    }

    /// The whole number that it is, if it is one.
    pub fn to_bigint(&self) -> Option<BigInt> {
        if self.exponent < 0 {
            return None;
        }
        Some(self.signed(&self.mantissa << self.exponent as u64))
    }

    /// Whether it is whole.
    pub fn is_integer(&self) -> bool {
        self.exponent >= 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa.is_zero()
    }

    /// Mantissa and exponent of two, without the sign.
    pub(crate) fn parts(&self) -> (&BigUint, i64) {
        (&self.mantissa, self.exponent)
    }

    /// Its distance from zero.
    pub fn absolute(&self) -> Number {
        Number {
            negative: false,
            ..self.clone()
        }
    }

    /// The largest whole number that is not larger.
    pub fn floor(&self) -> Number {
        let whole = self.truncated();
        if self.negative && !self.is_integer() {
            whole.subtract(&Number::from(1)).unwrap_or(whole)
        } else {
            whole
        }
    }

    /// The smallest whole number that is not smaller.
    pub fn ceiling(&self) -> Number {
        self.negated().floor().negated()
    }

    /// Without its fraction.
    pub fn truncated(&self) -> Number {
        if self.is_integer() {
            return self.clone();
        }
        let shift = self.exponent.unsigned_abs();
        let mut number = Number {
            negative: self.negative,
            mantissa: &self.mantissa >> shift,
            exponent: 0,
            precision: self.precision,
        };
        number.normalize();
        number
    }

    /// With the other sign.
    pub fn negated(&self) -> Number {
        Number {
            negative: !self.negative && !self.is_zero(),
            ..self.clone()
        }
    }

    /// The sum; None beyond the range.
    pub fn add(&self, other: &Number) -> Option<Number> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: &Number| number.signed(&number.mantissa << (number.exponent - exponent).unsigned_abs());
        let sum = aligned(self) + aligned(other);
        let precision = self.precision.max(other.precision);
        Number::rounded(
            sum.sign() == Sign::Minus,
            sum.into_parts().1,
            exponent,
            false,
            precision,
        )
    }

    /// The difference; None beyond the range.
    pub fn subtract(&self, other: &Number) -> Option<Number> {
        self.add(&other.negated())
    }

    /// The product; None beyond the range.
    pub fn multiply(&self, other: &Number) -> Option<Number> {
        let product = &self.mantissa * &other.mantissa;
        let wanted = self.precision.max(other.precision);
        let precision = wanted.max(product.bits().min(PRECISION));
        Number::rounded(
            self.negative != other.negative,
            product,
            self.exponent + other.exponent,
            false,
            precision,
        )
    }

    /// The quotient; None by zero or beyond the range.
    pub fn divide(&self, other: &Number) -> Option<Number> {
        let precision = self.precision.max(other.precision);
        Number::quotient(
            self.negative != other.negative,
            &self.mantissa,
            &other.mantissa,
            self.exponent - other.exponent,
            precision,
        )
    }

    /// What remains of a division that is rounded toward zero; None by zero or beyond the range.
    pub fn modulo(&self, other: &Number) -> Option<Number> {
        let whole = self.divide(other)?.truncated();
        self.subtract(&whole.multiply(other)?)
    }

    fn signed(&self, mantissa: BigUint) -> BigInt {
        BigInt::from_biguint(if self.negative { Sign::Minus } else { Sign::Plus }, mantissa)
    }

    fn quotient(negative: bool, above: &BigUint, below: &BigUint, exponent: i64, precision: u64) -> Option<Number> {
        if below.is_zero() {
            return None;
        }
        let shift = (precision + 2 + below.bits()).saturating_sub(above.bits());
        let (quotient, rest) = (above << shift).div_rem(below);
        Number::rounded(negative, quotient, exponent - shift as i64, !rest.is_zero(), precision)
    }

    /// Rounds to the precision, half to even; `more` says that there are digits behind.
    fn rounded(negative: bool, mantissa: BigUint, exponent: i64, more: bool, precision: u64) -> Option<Number> {
        let mut number = Number {
            negative,
            mantissa,
            exponent,
            precision,
        };
        let bits = number.mantissa.bits();
        if bits > precision {
            let shift = bits - precision;
            let kept = &number.mantissa >> shift;
            let dropped = &number.mantissa - (&kept << shift);
            let half = BigUint::one() << (shift - 1);
            let up = match dropped.cmp(&half) {
                Ordering::Greater => true,
                Ordering::Equal => more || kept.is_odd(),
                Ordering::Less => false,
            };
            number.mantissa = if up { kept + 1u8 } else { kept };
            number.exponent += shift as i64;
        }
        number.normalize();
        let largest = number.exponent + number.mantissa.bits() as i64;
        (number.exponent.abs() <= LARGEST_EXPONENT && largest <= LARGEST_EXPONENT).then_some(number)
    }

    fn normalize(&mut self) {
        match self.mantissa.trailing_zeros() {
            Some(zeros) => {
                self.mantissa >>= zeros;
                self.exponent += zeros as i64;
            }
            None => {
                self.exponent = 0;
                self.negative = false;
            }
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        let mut number = Number {
            negative: value < 0,
            mantissa: BigUint::from(value.unsigned_abs()),
            exponent: 0,
            precision: 64,
        };
        number.normalize();
        number
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.negative == other.negative && self.exponent == other.exponent && self.mantissa == other.mantissa
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.negative.hash(state);
        self.exponent.hash(state);
        self.mantissa.hash(state);
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: &Number| number.signed(&number.mantissa << (number.exponent - exponent).unsigned_abs());
        aligned(self).cmp(&aligned(other))
    }
}

/// The fewest digits that stand for this number and no other of its precision, without an exponent.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let bits = self.mantissa.bits();
        if self.exponent >= 0 && bits + self.exponent as u64 <= self.precision.max(1) {
            return write!(f, "{}", &self.mantissa << self.exponent as u64);
        }
        // The number and the middles between it and its neighbours, as whole numbers: everything times 10^places.
        let widen = self.precision.saturating_sub(bits);
        let mantissa = &self.mantissa << widen;
        let exponent = self.exponent - widen as i64;
        let places = (2 - exponent).max(0).unsigned_abs();
        let fives = BigUint::from(5u8).pow(places as u32);
        let scaled = |quarters: BigUint| (quarters << (exponent - 2 + places as i64).unsigned_abs()) * &fives;
        let exact = scaled(&mantissa * 4u8);
        let above = scaled(&mantissa * 4u8 + 2u8);
        let is_power = mantissa == (BigUint::one() << (self.precision - 1));
        let below = scaled(&mantissa * 4u8 - if is_power { 1u8 } else { 2u8 });
        let inclusive = mantissa.is_even();
        let fits = |candidate: &BigUint| {
            if inclusive {
                *candidate >= below && *candidate <= above
            } else {
                *candidate > below && *candidate < above
            }
        };
        let length = exact.to_string().len();
        let shortest = (1..length)
            .map(|digits| {
                let unit = BigUint::from(10u8).pow((length - digits) as u32);
                let (kept, rest) = exact.div_rem(&unit);
                let up = match (&rest * 2u8).cmp(&unit) {
                    Ordering::Greater => true,
                    Ordering::Equal => kept.is_odd(),
                    Ordering::Less => false,
                };
                (if up { kept + 1u8 } else { kept }) * unit
            })
            .find(fits)
            .unwrap_or(exact);
        let digits = format!("{:0>width$}", shortest.to_string(), width = places as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places as usize);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            f.write_str(whole)
        } else {
            write!(f, "{whole}.{fraction}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn numbers_are_shown_as_they_were_written() {
        for text in [
            "0",
            "1",
            "-1",
            "0.1",
            "1.5",
            "123456789012345678901234567890",
            "0.30000000000000004",
            "-2.25",
            "100",
        ] {
            assert_eq!(number(text).to_string(), text);
        }
        assert_eq!(number("1e3").to_string(), "1000");
        assert_eq!(number("1e200").to_string(), format!("1{}", "0".repeat(200)));
        assert_eq!(number("1.50").to_string(), "1.5");
        assert_eq!(number("-0").to_string(), "0");
        assert_eq!(number("1e-30").to_string(), format!("0.{}1", "0".repeat(29)));
    }

    #[test]
    fn arithmetic_has_512_bits() {
        assert_eq!(number("0.1").add(&number("0.2")).expect("fits").to_string(), "0.3");
        assert_eq!(number("10").divide(&number("4")).expect("fits").to_string(), "2.5");
        assert_eq!(number("7").modulo(&number("3")).expect("fits").to_string(), "1");
        assert_eq!(number("-7").modulo(&number("3")).expect("fits").to_string(), "-1");
        assert_eq!(number("1").divide(&number("0")), None);
        let third = number("1").divide(&number("3")).expect("fits").to_string();
        assert!(
            third.starts_with("0.33333333333333333333") && third.len() > 150,
            "{third}"
        );
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert_eq!(Number::parse("1e999999999999"), None);
        assert_eq!(Number::parse("1e100000"), None);
        assert_eq!(Number::parse(&"9".repeat(5000)), None);
        let mut large = number("1e4000");
        for _ in 0..4 {
            match large.multiply(&large.clone()) {
                Some(larger) => large = larger,
                None => return,
            }
        }
        panic!("it never overflows");
    }

    #[test]
    fn rounding_to_whole_numbers() {
        assert_eq!(number("-1.5").floor().to_string(), "-2");
        assert_eq!(number("-1.5").ceiling().to_string(), "-1");
        assert_eq!(number("1.5").ceiling().to_string(), "2");
        assert_eq!(number("-1.5").truncated().to_string(), "-1");
        assert_eq!(Number::from_f64(0.1).expect("finite").to_string(), "0.1");
        assert_eq!(number("2.5").to_f64(), 2.5);
    }
}
