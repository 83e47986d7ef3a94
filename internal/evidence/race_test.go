//go:build race

package evidence

// raceEnabled tells that this runs under the race detector, ten times slower.
const raceEnabled = true
