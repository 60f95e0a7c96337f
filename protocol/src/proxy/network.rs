//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network {
    /// All bits behind the prefix are zero.
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network. Its `Display` is the rest of a sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor an address with `/` and a number.
    #[error(
        "is no network: write an address such as 192.0.2.7, or a range such as 10.0.0.0/8 or 2001:db8::/32"
    )]
    Form,
    /// More bits than an address has.
    #[error("has a prefix that is too long: at most {0} bits")]
    Prefix(u8),
    /// Address bits are set behind the prefix: one of the two is a slip.
    #[error("has address bits behind its prefix: did you mean {0}?")]
    Bits(Network),
}

impl Network {
    /// Whether the address lies in it. An IPv4-mapped IPv6 address is its IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.address)
    }
}

/// The address without the bits behind the prefix; none if it has fewer bits than that.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let host_bits = 32_u32.checked_sub(prefix.into())?;
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(Ipv4Addr::from_bits(address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let host_bits = 128_u32.checked_sub(prefix.into())?;
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(Ipv6Addr::from_bits(address.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some("") => return Err(NetworkError::Form),
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().map_err(|_| NetworkError::Prefix(bits))?
            }
            Some(_) => return Err(NetworkError::Form),
        };
        let zeroed = masked(address, prefix).ok_or(NetworkError::Prefix(bits))?;
        if zeroed != address {
            return Err(NetworkError::Bits(Self {
                address: zeroed,
                prefix,
            }));
        }
        // A mapped address has bits up to the 96th, so its prefix, which leaves none out, is at least that long.
        let canonical = address.to_canonical();
        Ok(Self {
            address: canonical,
            prefix: if canonical == address {
                prefix
            } else {
                prefix - 96
            },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// Several networks, such as all proxies that are trusted. Few: every one is compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether the address lies in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn lies_in(address: &str, text: &str) -> bool {
        network(text).contains(address.parse().unwrap())
    }

    #[test]
    fn ranges_hold_what_they_say() {
        assert!(lies_in("10.255.0.1", "10.0.0.0/8") && !lies_in("11.0.0.0", "10.0.0.0/8"));
        assert!(lies_in("192.0.2.7", "192.0.2.7") && !lies_in("192.0.2.8", "192.0.2.7/32"));
        assert!(lies_in("1.2.3.4", "0.0.0.0/0") && !lies_in("::1", "0.0.0.0/0"));
        assert!(
            lies_in("2001:db8:1::7", "2001:db8::/32") && !lies_in("2001:db9::", "2001:db8::/32")
        );
        assert!(lies_in("fe80::1", "::/0") && !lies_in("10.0.0.1", "::/0"));
        assert!(lies_in("::ffff:10.1.2.3", "10.0.0.0/8"));
        assert!(
            lies_in("10.1.2.3", "::ffff:10.0.0.0/104") && lies_in("10.1.2.3", "::ffff:10.1.2.3")
        );
    }

    #[test]
    fn slips_are_told() {
        let fault = |text: &str| text.parse::<Network>().unwrap_err();
        for text in [
            "",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "/8",
            "10/8",
            "010.0.0.1",
            "10.0.0.0 /8",
        ] {
            assert_eq!(fault(text), NetworkError::Form, "{text}");
        }
        assert_eq!(fault("10.0.0.0/33"), NetworkError::Prefix(32));
        assert_eq!(fault("::/129"), NetworkError::Prefix(128));
        assert_eq!(fault("::/999999999999"), NetworkError::Prefix(128));
        assert_eq!(
            fault("10.1.2.3/8").to_string(),
            "has address bits behind its prefix: did you mean 10.0.0.0/8?"
        );
    }

    proptest! {
        #[test]
        fn membership_is_equality_of_the_first_bits(network_bits: u32, prefix in 0_u8..=32, address: u32) {
            let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
            let network = network(&format!("{}/{prefix}", Ipv4Addr::from_bits(network_bits & mask)));
            let address = (network_bits & mask) ^ (address >> (u32::from(prefix) / 2));
            prop_assert_eq!(
                network.contains(Ipv4Addr::from_bits(address).into()),
                address & mask == network_bits & mask
            );
        }

        #[test]
        fn what_is_written_reads_back(bits: u128, prefix in 0_u8..=128) {
            let address = masked(Ipv6Addr::from_bits(bits).into(), prefix).unwrap();
            let network = Network { address, prefix };
            if address.to_canonical() == address {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Network>();
        }
    }
}
