"""Configuration of the server, and of uploads to it."""

from pydantic import Field, model_validator

from dockd.base.settings import Section, Size
from dockd.evidence.fields import Endpoint, FilePath, PositiveSeconds, SecretPath, TimeOfDay


class BandwidthRule(Section):
    """An upload limit for a time of day."""

    since: TimeOfDay = Field(description="The start time, local time.", examples=["07:00"])
    until: TimeOfDay = Field(
        description="The end time; if earlier than `since`, it is on the next day.",
        examples=["19:00"],
    )
    limit: Size = Field(gt=0, description="Bytes per second over all uploads.", examples=["10 MiB"])


class TargetConfig(Section):
    """The server that receives ciphertext."""

    url: Endpoint = Field(
        description="The tus 1.0.0 endpoint for uploads.",
        examples=["https://evidence.example/files/"],
    )
    receipts_url: Endpoint | None = Field(
        default=None,
        description="The receipts endpoint of a dockd receiver; without it, nothing is ever wiped.",
        examples=["https://evidence.example/receipts/"],
    )
    receiver_keys: tuple[FilePath, ...] = Field(
        default=(),
        strict=False,
        description="Public keys whose receipts are accepted; list old and new during a rotation.",
        examples=[["receiver.pub"]],
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="The private CA that signs the server's certificate, as PEM.",
        examples=["ca.pem"],
    )
    client_certificate: FilePath | None = Field(
        default=None,
        description="The client certificate of this station, as PEM.",
        examples=["client.pem"],
    )
    client_key_file: SecretPath | None = Field(
        default=None,
        description="The key of that certificate; a credential or a file.",
        examples=["client.key"],
    )
    token_file: SecretPath | None = Field(
        default=None,
        description="A bearer token, re-read for every request; a credential or a file.",
        examples=["token"],
    )
    chunk_size: Size = Field(
        default=512 * 2**20,
        ge=2**20,
        description="The maximum size of one PATCH; a reverse proxy may require less.",
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="Clips uploaded concurrently.")
    timeout_seconds: PositiveSeconds = Field(
        default=60.0, description="How long the server may take to respond."
    )
    retry_first_seconds: PositiveSeconds = Field(
        default=1.0, description="The maximum delay before the first retry."
    )
    retry_cap_seconds: PositiveSeconds = Field(
        default=300.0,
        description="The maximum delay between retries, which continue indefinitely.",
    )
    bandwidth: Size = Field(
        default=0, ge=0, description="Bytes per second over all uploads; 0: no limit."
    )
    schedule: tuple[BandwidthRule, ...] = Field(
        default=(),
        strict=False,
        description="Limits by time of day; the first that matches applies.",
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> "TargetConfig":
        if (self.client_certificate is None) != (self.client_key_file is None):
            raise ValueError("client_certificate and client_key_file must be set together")
        if self.receipts_url is not None and not self.receiver_keys:
            raise ValueError("receipts_url requires receiver_keys: receipts must be verified")
        if self.receipts_url is not None and self.url.endswith("/receipts/"):
            swapped = self.receipts_url.endswith("/files/")
            raise ValueError(
                "url and receipts_url are swapped: uploads are at /files/, receipts at /receipts/"
                if swapped
                else "url is where receipts are given; clips go to another address, such as /files/"
            )
        if self.url == self.receipts_url:
            raise ValueError("url and receipts_url must be different addresses")
        return self
