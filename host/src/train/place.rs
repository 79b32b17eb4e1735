//! Where a training computes: devices of this machine, and of others.

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;

/// What a device's name may be.
const FORMS: &str = "cpu:N, wgpu, wgpu:N, cuda:N or remote://HOST:PORT";

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The processor of this machine. The number only tells apart the copies of a network that train on it side by side.
    Cpu(usize),
    /// A GPU through Vulkan, Metal or DirectX 12: the best, or the discrete one of this number.
    Wgpu(Option<usize>),
    /// Nvidia's GPU of this number.
    Cuda(usize),
    /// The device that `ocelli worker` serves at this `HOST:PORT`.
    Remote(String),
}

impl Place {
    /// Whether the device is that of another process.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// The device, ready to compute; `token` lets in at a remote one.
    ///
    /// # Errors
    /// When this program was built without the device's feature, or there is no such device, or it lets nobody in.
    pub fn open(&self, token: Option<&Token>) -> anyhow::Result<Device> {
        match self {
            Self::Cpu(_) => Ok(Device::flex()),
            Self::Wgpu(number) => wgpu(*number),
            Self::Cuda(number) => cuda(*number),
            Self::Remote(address) => remote(address, token),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(number) => write!(formatter, "cpu:{number}"),
            Self::Wgpu(None) => formatter.write_str("wgpu"),
            Self::Wgpu(Some(number)) => write!(formatter, "wgpu:{number}"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Remote(address) => write!(formatter, "remote://{address}"),
        }
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(address) = text.strip_prefix("remote://") {
            let (host, port) = address.rsplit_once(':').unwrap_or_default();
            let known = port.parse::<u16>().is_ok_and(|port| port > 0);
            ensure!(!host.is_empty() && known, "the device '{text}' must be remote://HOST:PORT");
            return Ok(Self::Remote(address.to_owned()));
        }
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number.parse().with_context(|| format!("the device '{text}'"))?)),
            None => (text, None),
        };
        match kind {
            "cpu" => Ok(Self::Cpu(number.unwrap_or(0))),
            "wgpu" => Ok(Self::Wgpu(number)),
            "cuda" => Ok(Self::Cuda(number.unwrap_or(0))),
            _ => bail!("the device '{text}' is not one of {FORMS}"),
        }
    }
}

/// Reads a list of devices; a remote one may occur once.
pub(super) fn places(names: &[String]) -> anyhow::Result<Vec<Place>> {
    let places: Vec<Place> = names.iter().map(|name| name.parse()).collect::<anyhow::Result<_>>()?;
    for (i, place) in places.iter().enumerate() {
        ensure!(!place.is_remote() || !places[..i].contains(place), "the device {place} is listed twice");
    }
    Ok(places)
}

/// What lets a training in at the workers.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token that the user chose.
    ///
    /// # Errors
    /// When it is empty: that is what a stranger has.
    pub fn new(text: &str) -> anyhow::Result<Self> {
        ensure!(!text.is_empty(), "the token is empty");
        Ok(Self(text.to_owned()))
    }

    /// The token itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Never shows the token.
impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// What to do about a device that this program was built without.
#[cfg(not(all(feature = "wgpu", feature = "cuda", feature = "remote")))]
pub(super) fn not_built(what: &str, feature: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "this ocelli was built without {what}: build it with `cargo build --release --package ocelli-host --features {feature}`"
    )
}

#[cfg(feature = "wgpu")]
fn wgpu(number: Option<usize>) -> anyhow::Result<Device> {
    use burn::tensor::DeviceKind;
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    // Burn opens a GPU once in the life of a process
    static OPEN: Mutex<BTreeMap<Option<usize>, Device>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&number) {
        return Ok(device.clone());
    }
    let kind = number.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
    let device = Device::wgpu_options().device_kind(kind).init();
    let device = device.map_err(|error| anyhow::anyhow!("cannot open the GPU {}: {error}", Place::Wgpu(number)))?;
    open.insert(number, device.clone());
    Ok(device)
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: Option<usize>) -> anyhow::Result<Device> {
    Err(not_built("GPUs through wgpu", "wgpu"))
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> anyhow::Result<Device> {
    use burn::tensor::Tensor;

    // Burn has no call that fails when there is no driver: the first use panics
    let probe = || {
        let device = Device::cuda(number);
        Tensor::<1>::from_floats([0.0], &device).try_into_data().map(|_| device).map_err(|error| format!("{error:?}"))
    };
    let opened =
        std::panic::catch_unwind(probe).unwrap_or_else(|_| Err("there is no such GPU, or no driver".to_owned()));
    opened.map_err(|error| anyhow::anyhow!("cannot open the GPU {}: {error}", Place::Cuda(number)))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> anyhow::Result<Device> {
    Err(not_built("Nvidia's GPUs", "cuda"))
}

#[cfg(feature = "remote")]
fn remote(address: &str, token: Option<&Token>) -> anyhow::Result<Device> {
    use burn::remote::{ConnectError, RemoteHost};

    let host = RemoteHost::websocket(&format!("ws://{address}"));
    let host = match token {
        Some(token) => host.with_credential(token.secret()),
        None => host,
    };
    Device::remote_options(&host).init().map_err(|error| match error {
        ConnectError::Unauthorized => anyhow::anyhow!(
            "the worker at {address} refuses {}: give the one that it was started with, or that it printed, as --token or in \
             OCELLI_TOKEN",
            if token.is_some() { "this token" } else { "a training without a token" }
        ),
        ConnectError::Unreachable { reason } => {
            anyhow::anyhow!("no worker answers at {address} ({reason}): start one there with `ocelli worker`")
        }
        other => anyhow::anyhow!("cannot use the worker at {address}: {other}"),
    })
}

#[cfg(not(feature = "remote"))]
fn remote(_: &str, _: Option<&Token>) -> anyhow::Result<Device> {
    Err(not_built("devices of other machines", "remote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_name() {
        for name in ["cpu:0", "cpu:3", "wgpu", "wgpu:1", "cuda:0", "remote://127.0.0.1:7744", "remote://[::1]:7744"] {
            assert_eq!(name.parse::<Place>().unwrap().to_string(), name);
        }
        assert_eq!("cpu".parse::<Place>().unwrap(), Place::Cpu(0));
    }

    #[test]
    fn what_names_no_device_is_refused() {
        for name in ["", "tpu", "gpu:0", "cpu:x", "remote://", "remote://host", "remote://:1", "remote://host:99999"] {
            assert!(name.parse::<Place>().is_err(), "{name}");
        }
        let twice = ["remote://a:1", "cpu:0", "remote://a:1"].map(str::to_owned);
        assert!(places(&twice).unwrap_err().to_string().contains("remote://a:1 is listed twice"));
        assert_eq!(places(&["cpu:0", "cpu:0"].map(str::to_owned)).unwrap().len(), 2);
    }

    #[test]
    fn a_token_is_never_shown() {
        assert_eq!(format!("{:?}", Token::new("secret").unwrap()), "Token(..)");
        assert!(Token::new("").is_err());
    }

    #[cfg(not(feature = "remote"))]
    #[test]
    fn a_device_that_is_not_built_in_names_the_command() {
        let message = Place::Remote("a:1".to_owned()).open(None).unwrap_err().to_string();
        assert!(message.contains("--features remote"), "{message}");
    }
}
