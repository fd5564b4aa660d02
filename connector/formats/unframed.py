"""Avro without framing: the whole value, written with one schema that a file holds."""

from __future__ import annotations

from connector.errors import DecodeError
from connector.formats import diagnosis
from connector.formats.avro_code import Read
from connector.model import Decode, Headers, Json


def unframed_decoder(read: Read) -> Decode:
    """Give the function that decodes whole values.

    A record whose headers name a schema is refused: it need not be the file's, and another one may read
    its bytes as other values, without an error.
    """

    def decode(value: bytes, headers: Headers) -> Json:
        if headers and diagnosis.framing_of_headers(headers):
            raise DecodeError("framing_invalid", f"not without framing. {diagnosis.guess(value, headers)}")
        try:
            return read(value, 0)
        except DecodeError as error:
            if error.code == "avro_invalid" and (guess := diagnosis.guess(value)):
                raise DecodeError("avro_invalid", f"{error} {guess}") from None
            raise

    return decode
