// fsock reads events and counts them. Built by bench/peers.py.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cgrates/fsock"
)

func main() {
	left, _ := strconv.ParseInt(os.Args[2], 10, 64)
	ended := make(chan struct{})
	// Each event comes in a goroutine of its own, as text; its users parse it with this.
	count := func(event string, _ int) {
		if fsock.EventToMap(event)["Event-Name"] != "" && atomic.AddInt64(&left, -1) == 0 {
			close(ended)
		}
	}
	delays := func(time.Duration, time.Duration) func() time.Duration {
		return func() time.Duration { return time.Second }
	}
	handlers := map[string][]func(string, int){"ALL": {count}}
	if _, err := fsock.NewFSock("127.0.0.1:"+os.Args[1], "ClueCon", 0, 0, time.Minute, delays, handlers, nil, nil, 0,
		false, nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	<-ended
	fmt.Println("done")
	select {}
}
