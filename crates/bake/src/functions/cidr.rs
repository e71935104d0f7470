//! Network addresses: prefixes, the hosts and the subnets in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use crate::value::{Type, Value};

use super::{Call, Function, FunctionError, Kind, Outcome, function, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    function(
        "cidrhost",
        &[parameter("prefix", Kind::String), parameter("hostnum", Kind::Number)],
        host,
    ),
    function("cidrnetmask", &[parameter("prefix", Kind::String)], |call| {
        let prefix = prefix(call, 0)?;
        Ok(Value::string(&address(prefix.width, prefix.mask()).to_string()))
    }),
    function(
        "cidrsubnet",
        &[
            parameter("prefix", Kind::String),
            parameter("newbits", Kind::Number),
            parameter("netnum", Kind::Number),
        ],
        |call| {
            let prefix = prefix(call, 0)?;
            let number = call.number(2)?.to_bigint().and_then(|number| number.to_u128());
            let number = number.ok_or_else(|| FunctionError::at(2, "must be a whole number that is not negative"))?;
            let bits = new_bits(call, 1)?;
            prefix
                .subnet(bits, number)
                .map(|subnet| Value::string(&subnet.to_string()))
                .map_err(FunctionError::from)
        },
    ),
    variadic(
        "cidrsubnets",
        &[parameter("prefix", Kind::String)],
        parameter("newbits", Kind::Number),
        subnets,
    ),
];

/// A network.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    /// 32 or 128.
    width: u32,
    bits: u32,
    /// Its first address.
    network: u128,
}

impl Prefix {
    fn mask(self) -> u128 {
        let all = u128::MAX >> (128 - self.width);
        match self.width - self.bits {
            128 => 0,
            free => (all >> free) << free,
        }
    }

    /// One of the networks that are so many bits smaller.
    fn subnet(self, more: u32, number: u128) -> Result<Prefix, String> {
        let bits = self.bits + more;
        if bits > self.width {
            return Err(format!(
                "insufficient address space to extend prefix of {} by {more}",
                self.bits
            ));
        }
        let fits = more >= 128 || number < (1 << more);
        if !fits {
            return Err(format!(
                "prefix extension of {more} does not accommodate a subnet numbered {number}"
            ));
        }
        let shift = self.width - bits;
        let offset = if shift >= 128 { 0 } else { number << shift };
        Ok(Prefix {
            bits,
            network: self.network | offset,
            ..self
        })
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", address(self.width, self.network), self.bits)
    }
}

fn address(width: u32, number: u128) -> IpAddr {
    if width == 32 {
        IpAddr::V4(Ipv4Addr::from(number as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}

fn prefix(call: &Call<'_>, argument: usize) -> Result<Prefix, FunctionError> {
    let text = call.text(argument)?;
    let invalid = || {
        FunctionError::at(
            argument,
            format!("invalid CIDR expression: invalid CIDR address: {text}"),
        )
    };
    let (address, bits) = text.split_once('/').ok_or_else(invalid)?;
    let bits: u32 = bits.parse().map_err(|_| invalid())?;
    let (width, number) = match address.parse::<IpAddr>().map_err(|_| invalid())? {
        IpAddr::V4(address) => (32, u128::from(u32::from(address))),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    if bits > width {
        return Err(invalid());
    }
    let whole = Prefix {
        width,
        bits,
        network: number,
    };
    Ok(Prefix {
        network: number & whole.mask(),
        ..whole
    })
}

fn new_bits(call: &Call<'_>, argument: usize) -> Result<u32, FunctionError> {
    let bits = u32::try_from(call.integer(argument)?);
    let bits = bits.map_err(|_| FunctionError::at(argument, "must not be negative"))?;
    if bits > 32 {
        return Err(FunctionError::at(
            argument,
            "may not extend prefix by more than 32 bits",
        ));
    }
    Ok(bits)
}

/// The address with a number in a network; negative numbers count from the end.
fn host(call: &Call<'_>) -> Outcome {
    let prefix = prefix(call, 0)?;
    let number = call
        .number(1)?
        .to_bigint()
        .ok_or_else(|| FunctionError::at(1, "a whole number is required"))?;
    let size = BigInt::from(1u8) << (prefix.width - prefix.bits);
    let position = if number.sign() == num_bigint::Sign::Minus {
        &size + &number
    } else {
        number.clone()
    };
    let offset = position.to_u128().filter(|_| position < size);
    let offset = offset.ok_or_else(|| {
        FunctionError::from(format!(
            "prefix of {} does not accommodate a host numbered {number}",
            prefix.bits
        ))
    })?;
    Ok(Value::string(
        &address(prefix.width, prefix.network | offset).to_string(),
    ))
}

/// Networks of the given sizes, one behind the other.
fn subnets(call: &Call<'_>) -> Outcome {
    let prefix = prefix(call, 0)?;
    let mut next: u128 = 0;
    let mut all = Vec::new();
    for argument in 1..call.arguments.len() {
        let more = new_bits(call, argument)?;
        if more == 0 {
            return Err(FunctionError::at(argument, "must extend prefix by at least one bit"));
        }
        let bits = prefix.bits + more;
        if bits > prefix.width {
            return Err(FunctionError::at(
                argument,
                format!(
                    "would extend prefix to {bits} bits, which is too long for an {} address",
                    if prefix.width == 32 { "IPv4" } else { "IPv6" }
                ),
            ));
        }
        let size = 1u128 << (prefix.width - bits);
        let start = next.div_ceil(size).checked_mul(size);
        let start = start.filter(|start| prefix.bits == 0 || (*start >> (prefix.width - prefix.bits)) == 0);
        let start = start.ok_or_else(|| {
            FunctionError::at(
                argument,
                format!("not enough remaining address space for a subnet with a prefix of {bits} bits"),
            )
        })?;
        let subnet = Prefix {
            bits,
            network: prefix.network | start,
            ..prefix
        };
        all.push(Value::string(&subnet.to_string()));
        next = start.saturating_add(size);
    }
    Ok(Value::list(Type::String, all))
}
