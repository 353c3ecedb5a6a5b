// The clients of the event socket that are written in Go, each used by a program of its own (bench/peers.py).
module bench

go 1.22

require (
	github.com/cgrates/fsock v0.0.0-20240322171959-3b1aef32bc4e
	github.com/percipia/eslgo v1.4.1
)

require github.com/google/uuid v1.1.1 // indirect
