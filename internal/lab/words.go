package lab

import (
	"entente.example/internal/client"
	"entente.example/internal/statement"
)

// Agreement is the terms that World.Agree signs.
type Agreement = statement.Agreement

// NewID makes the id of a new sending.
func NewID() string { return client.NewID() }

// MediaType gives the media type that goes with a file name.
func MediaType(name string) string { return statement.MediaType(name) }
