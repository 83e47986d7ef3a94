package lab

import (
	"entente.example/internal/client"
	"entente.example/internal/statement"
)

// Agreement is the terms that World.Agree signs.
type Agreement = statement.Agreement

// NewID makes the id of a new sending.
func NewID() string { return client.NewID() }

// MediaType guesses a media type from a file name's extension.
func MediaType(name string) string { return client.MediaType(name) }
