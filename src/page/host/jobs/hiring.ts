/** A worker that the page has started for the one that asked, and how to speak to it. */
export interface Hired {
  readonly port: MessagePort
  end(): void
}

/** What a worker asks the page for, as only the page itself can start workers everywhere. */
export type Hiring =
  | { readonly type: 'hire'; readonly id: number; readonly port: MessagePort }
  | { readonly type: 'dismiss'; readonly id: number }

type Ask = (hiring: Hiring, ports: MessagePort[]) => void

let ask: Ask | undefined
const lostOnes = new Map<number, (problem: string) => void>()
let count = 0

/** Says how the page is asked. */
export function hireBy(how: Ask): void {
  ask = how
}

/** A new worker; `lost` is called where it dies of itself. */
export function hire(lost: (problem: string) => void): Hired {
  if (ask === undefined) throw new Error('nobody is there to start workers')
  const id = count++
  const { port1, port2 } = new MessageChannel()
  lostOnes.set(id, lost)
  ask({ type: 'hire', id, port: port2 }, [port2])
  return {
    port: port1,
    end() {
      lostOnes.delete(id)
      port1.close()
      ask?.({ type: 'dismiss', id }, [])
    },
  }
}

/** To be told of a worker that has died. */
export const lose = (id: number, problem: string): void => lostOnes.get(id)?.(problem)
