/* thread.h: what the calling thread is to the system's scheduler. Best effort, both. */
#ifndef RV_BASE_THREAD_H
#define RV_BASE_THREAD_H

/* It answers requests: short stretches on a processor, soon after it wakes. Once a thread. */
void thread_answers(void);
/* Nobody waits for what it does. */
void thread_steps_back(void);

#endif
