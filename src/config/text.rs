//! How values are written in the configuration: durations, sizes, addresses, ranges, short forms.
//!
//! Every error names what would be accepted; the caller adds the key and the place.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A whole number between `LOW` and `HIGH`, both included.
pub(super) fn whole<'de, D, N, const LOW: i64, const HIGH: i64>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i64>,
{
    let number = i64::deserialize(deserializer)?;
    Some(number)
        .filter(|number| (LOW..=HIGH).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| Error::custom(format_args!("{number} is not a number from {LOW} to {HIGH}")))
}

/// Address and port.
pub(super) fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
        Error::custom(format_args!(
            "\"{text}\" is not an address with a port; write 127.0.0.1:8080, 0.0.0.0:8080 (every IPv4 address) or \
             [::]:8080 (every address)"
        ))
    })
}

/// One IP address.
pub(super) fn ip_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        Error::custom(format_args!(
            "\"{text}\" is not an IP address; write one like 203.0.113.7 or 2001:db8::7, without a port"
        ))
    })
}

/// A list of IP addresses.
pub(super) fn ip_addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    /// A type of its own, so that an error carries the place of the item.
    #[derive(Deserialize)]
    struct Ip(#[serde(deserialize_with = "ip_address")] IpAddr);

    Ok(Vec::<Ip>::deserialize(deserializer)?.into_iter().map(|Ip(ip)| ip).collect())
}

/// A list whose items are tables, or strings from which the item is made.
pub(super) fn short_or_full<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + From<String>,
{
    deserializer.deserialize_seq(ItemsVisitor(PhantomData))
}

/// A text that may be empty: nothing set.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<T, S>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
        S: Serializer,
    {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(in crate::config) fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: From<String>,
    {
        let text = String::deserialize(deserializer)?;
        Ok((!text.is_empty()).then(|| T::from(text)))
    }
}

/// A whole number with a unit: `500ms`, `30s`, `2m`, `1h`; longer than nothing, at most a day.
pub(super) mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Milliseconds per unit, coarsest first: the first that divides evenly is written.
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

    const LONGEST: Duration = Duration::from_secs(86_400);

    pub(in crate::config) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::with_unit(value.as_millis() as u64, &UNITS))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_unit(&text, &UNITS)
            .map(Duration::from_millis)
            .filter(|duration| (Duration::from_millis(1)..=LONGEST).contains(duration))
            .ok_or_else(|| {
                Error::custom(format_args!(
                    "\"{text}\" is not a duration; write a whole number and ms, s, m or h, from \"1ms\" to \"24h\", \
                     like \"30s\""
                ))
            })
    }
}

/// A whole number with a unit: `512B`, `64KiB`, `4MiB`; from 1 KiB to 1 GiB.
pub(super) mod bytes {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Bytes per unit, coarsest first: the first that divides evenly is written.
    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    pub(in crate::config) fn serialize<S: Serializer>(value: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::with_unit(*value as u64, &UNITS))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_unit(&text, &UNITS)
            .filter(|bytes| (1 << 10..=1 << 30).contains(bytes))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| {
                Error::custom(format_args!(
                    "\"{text}\" is not a size; write a whole number and B, KiB, MiB or GiB, from \"1KiB\" to \"1GiB\", \
                     like \"64KiB\""
                ))
            })
    }
}

fn parse_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn with_unit(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor))
        .map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

struct ItemsVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned + From<String>> Visitor<'de> for ItemsVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Item(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

/// An item that was written short or in full.
struct Item<T>(T);

impl<'de, T: DeserializeOwned + From<String>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor(PhantomData)).map(Item)
    }
}

struct ItemVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned + From<String>> Visitor<'de> for ItemVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::from(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(serde::de::value::MapAccessDeserializer::new(map))
    }
}

/// A list of texts, each read by its type: networks, delays.
pub(super) mod parsed {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::config) fn serialize<T: Display, S: Serializer>(
        items: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(items.iter().map(ToString::to_string))
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        /// A type of its own, so that an error carries the place of the item.
        struct Item<T>(T);

        impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Item<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map(Self).map_err(Error::custom)
            }
        }

        Ok(Vec::<Item<T>>::deserialize(deserializer)?.into_iter().map(|Item(item)| item).collect())
    }
}
