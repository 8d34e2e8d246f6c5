// Package api holds the contract of the HTTP interface.
package api

import (
	_ "embed"
	"encoding/json"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var document []byte

// YAML is the OpenAPI 3.1 description of the interface.
func YAML() []byte { return document }

// JSON is the same description as JSON.
func JSON() []byte { return asJSON() }

var asJSON = sync.OnceValue(func() []byte {
	var tree any
	if err := yaml.Unmarshal(document, &tree); err != nil {
		panic("api: openapi.yaml: " + err.Error()) // the document is part of the binary and tested
	}
	out, err := json.Marshal(tree)
	if err != nil {
		panic("api: openapi.yaml: " + err.Error())
	}
	return out
})
