use crate::client::proof::Client;
use crate::client::settings::ClientAuth;
use crate::oidc::provider::Configuration;
use crate::{AuthError, OidcSettings};

/// How the gateway proves who it is.
pub(super) enum Proof {
    Fixed(Client),
    /// As the provider takes it: in the header, or in the body where it takes no other.
    Either {
        basic: Client,
        post: Client,
    },
}

impl Proof {
    pub(super) fn new(settings: &OidcSettings, secret: Option<String>) -> Result<Self, AuthError> {
        let client = |secret: Option<&str>, auth| {
            Client::new(&settings.client_id, secret, auth, &settings.client_assertion)
        };
        Ok(match (settings.client_auth, secret) {
            (Some(auth), secret) => Self::Fixed(client(secret.as_deref(), auth)?),
            (None, None) if settings.client_assertion.has_key() => {
                let why = "is missing, and there is a key; expected `private_key_jwt`".to_owned();
                return Err(AuthError::Oidc { key: "client_auth", why });
            }
            (None, None) => Self::Fixed(Client::public(&settings.client_id)),
            (None, Some(secret)) => Self::Either {
                basic: client(Some(&secret), ClientAuth::Basic)?,
                post: client(Some(&secret), ClientAuth::Post)?,
            },
        })
    }

    /// RFC 6749 §2.3.1: the secret in `Authorization`, unless the provider only takes it in the body.
    pub(super) fn at(&self, configuration: &Configuration) -> &Client {
        let takes = configuration.token_endpoint_auth_methods_supported.as_deref();
        let takes = |name: &str| takes.is_some_and(|methods| methods.iter().any(|method| method == name));
        match self {
            Self::Fixed(client) => client,
            Self::Either { post, .. } if takes("client_secret_post") && !takes("client_secret_basic") => post,
            Self::Either { basic, .. } => basic,
        }
    }
}
