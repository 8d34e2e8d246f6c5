package db

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
)

// Hash is the SHA-256, in hex, of the names and contents of all migrations in this binary. Two
// binaries with the same hash make the same schema.
func Hash() string {
	sum := sha256.New()
	err := fs.WalkDir(embedded, "migrations", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		inner := sha256.Sum256(text)
		_, err = io.WriteString(sum, name+" "+hex.EncodeToString(inner[:])+"\n")
		return err
	})
	if err != nil {
		panic("db: " + err.Error()) // the embedded folder is part of the binary
	}
	return hex.EncodeToString(sum.Sum(nil))
}
