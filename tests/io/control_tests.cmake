syncline_test(io_control SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_control.c
    LIBRARIES syncline_test_support syncline_io syncline_base)
