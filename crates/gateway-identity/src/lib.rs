//! Accounts.

mod account;
mod clock;
mod db;
mod error;
mod http;
mod identity;
mod key;
mod keyring;
mod password;
mod secret;
mod session;
mod settings;
mod throttle;
mod token;

pub use crate::http::{IdentityService, router};
pub use account::{NewUser, ProfileChange, User, UserChange, UserPage};
pub use clock::Clock;
pub use error::{IdentityError, OpenError, Violation};
pub use identity::{Builder, Identity, Upkeep};
pub use keyring::Rotation;
pub use secret::Secret;
pub use session::{Caller, Origin, RevocationSink, Revoked, Session, Tokens};
pub use settings::{
    FirstAdmin, IdentitySettings, KeySettings, PasswordSettings, PathSettings, Paths, Preset,
    ProfileSettings, Registration, SigningAlgorithm, ThrottleSettings,
};
