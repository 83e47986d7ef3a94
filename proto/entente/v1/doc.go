// Package ententev1 is what crosses the wire: node.proto between people and their node, peer.proto between members.
// All else here is generated from the two; see make generate.
package ententev1
