//go:build !race

package audit

const raceEnabled = false // the race detector is at work
