-- A size that is no multiple of the slide.
SELECT device, HOP_START(ts, INTERVAL '25' SECOND, INTERVAL '1' MINUTE) AS w_start,
    HOP_END(ts, INTERVAL '25' SECOND, INTERVAL '1' MINUTE) AS w_end, COUNT(*) AS n, SUM(hum) AS hum_sum,
    MAX(load) AS load_max
FROM readings
GROUP BY device, HOP(ts, INTERVAL '25' SECOND, INTERVAL '1' MINUTE)
