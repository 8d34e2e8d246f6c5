// Package static holds files that are the same for everybody, ready to be sent: compressed once, and
// not for each who asks. A compressor takes most of a megabyte for as long as a client reads.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
)

// File is a file as it is sent.
type File struct {
	ContentType string
	Body        []byte
	Gzip        []byte // Body, compressed
	ETag        string // strong, of the body (RFC 9110 section 8.8.3)
}

// New makes a File of a body, which it keeps.
func New(contentType string, body []byte) File {
	var packed bytes.Buffer
	// Writing into memory at a level that exists does not fail.
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	_, _ = w.Write(body)
	_ = w.Close()
	sum := sha256.Sum256(body)
	return File{
		ContentType: contentType, Body: body, Gzip: packed.Bytes(),
		ETag: `"` + hex.EncodeToString(sum[:12]) + `"`,
	}
}
