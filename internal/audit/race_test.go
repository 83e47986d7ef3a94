//go:build race

package audit

const raceEnabled = true // the race detector is at work
