/* libesl reads events and counts them: FreeSWITCH's own client library, as its users call it. Linked with libesl's
   sources by bench/peers.py. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <esl.h>

int main(int argc, char **argv)
{
	esl_handle_t handle = {{0}};
	long left;

	if (argc != 3 || esl_connect(&handle, "127.0.0.1", atoi(argv[1]), NULL, "ClueCon") != ESL_SUCCESS) {
		puts("no connection");
		return 1;
	}
	esl_events(&handle, ESL_EVENT_TYPE_PLAIN, "ALL");
	puts("ready");
	fflush(stdout);
	for (left = atol(argv[2]); left && esl_recv_event(&handle, 0, NULL) == ESL_SUCCESS;) {
		esl_event_t *event = handle.last_ievent;
		/* The headers are parsed by now; whoever follows calls asks for these two of every event. */
		if (event && esl_event_get_header(event, "Event-Name") && esl_event_get_header(event, "Event-Date-Timestamp")) {
			left--;
		}
	}
	if (left) {
		puts("the connection was lost");
		return 1;
	}
	puts("done");
	fflush(stdout);
	pause();
	return 0;
}
