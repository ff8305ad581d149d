"""What can be wrong with an identity, a certificate or an envelope. Bad input only: a wrong caller gets RuntimeError."""


class CertError(Exception):
    """Base of everything this package refuses."""


class SpiffeIdError(CertError):
    """Not a SPIFFE ID, trust domain or label as we accept them."""


class KeyFormatError(CertError):
    """A key that cannot be read, or of a kind we do not use."""


class ProfileError(CertError):
    """A certificate profile or attribute set that must not be issued."""


class CsrError(CertError):
    """A signing request that proves nothing."""


class ChainError(CertError):
    """A certificate that does not prove who the peer is."""


class EnvelopeError(CertError):
    """A signed envelope that is malformed, too large, or not signed by whom it must be."""


class BundleError(CertError):
    """Not a SPIFFE trust bundle, or one that must not be used."""


class TokenError(CertError):
    """A JWT-SVID that does not prove who its bearer is."""


class FederationError(CertError):
    """A relationship with another trust domain that must not be, or an endpoint that is not the one it names."""
