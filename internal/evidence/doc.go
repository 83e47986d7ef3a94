// Package evidence proves what happened between members to somebody who trusts neither side.
//
// What it knows it is given: it does no I/O, and takes the time as a parameter.
package evidence
